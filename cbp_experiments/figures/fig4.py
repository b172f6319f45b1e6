"""All methods on Online Permuted MNIST (paper figure 4): online accuracy."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import panels, style
from cbp_experiments.figures.blocks import blocks

HEIGHT = 4.4  # inches


def fig4(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the online accuracy of each setting into `ax`, at most 100 points per line; mark and name the ends of lines.

    frame: as `results.load_experiment` returns it.
    """
    curves = style.curves(frame)
    panels.over_tasks(ax, curves, "accuracy", runs=True)
    panels.paired_ends(ax, curves)
    style.name_ends(ax, HEIGHT)
    return ax


def figure(*frames: pd.DataFrame | None) -> Figure:
    """Draw a panel for each size."""
    return blocks(frames, lambda frame, axes: fig4(frame, axes[0]), (1, 1), (8.5, HEIGHT))
