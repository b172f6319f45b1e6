"""All methods on Online Permuted MNIST (paper figure 4): online accuracy."""

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import panels, style

HEIGHT = 4.4  # inches


def fig4(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the online accuracy of each setting, a point a task, into `ax`, with their names beside their ends.

    frame: as `results.load_experiment` returns it.
    """
    panels.over_tasks(ax, style.curves(frame), "accuracy")
    style.name_ends(ax, HEIGHT)
    return ax


def figure(frame: pd.DataFrame) -> Figure:
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(8.5, HEIGHT), layout="constrained")
        fig4(frame, drawn.subplots())
    return drawn
