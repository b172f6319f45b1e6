"""All methods on Online Permuted MNIST (paper figure 4): online accuracy."""

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import panels, style

HEIGHT = 4.4  # inches


def fig4(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the online accuracy of each setting, at most 100 points a line, its end and its name beside that, into `ax`.

    frame: as `results.load_experiment` returns it.
    """
    curves = style.curves(frame)
    panels.over_tasks(ax, curves, "accuracy", runs=True)
    panels.paired_ends(ax, curves)
    style.name_ends(ax, HEIGHT)
    return ax


def figure(frame: pd.DataFrame) -> Figure:
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(8.5, HEIGHT), layout="constrained")
        fig4(frame, drawn.subplots())
    return drawn
