"""Continual backpropagation against SnP, L2 and BP on Continual ImageNet (paper figure 7)."""

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import panels, style

LEARNERS = ("cbp", "snp", "l2", "bp")
HEIGHT = 4.0  # inches


def fig7(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the test accuracy of each setting into `ax`, in bins of tasks; mark and name the ends of lines.

    frame: as `results.load_experiment` returns it.
    """
    curves = style.curves(frame)
    panels.over_tasks(ax, curves, "accuracy", panels.as_published, label=panels.TEST, runs=True)
    panels.paired_ends(ax, curves)
    style.name_ends(ax, HEIGHT)
    return ax


def figure(frame: pd.DataFrame) -> Figure:
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(8.5, HEIGHT), layout="constrained")
        fig7(frame, drawn.subplots())
    return drawn
