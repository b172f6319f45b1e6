"""Continual backpropagation against BP, L2 and SnP on Online Permuted MNIST (paper figure 6): the four metrics."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import four_panels, panels, style
from cbp_experiments.figures.blocks import blocks

LEARNERS = ("bp", "l2", "snp", "cbp")


def fig6(frame: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw online accuracy and its ends, dead units, weight magnitude and effective rank into four axes.

    frame: as `results.load_experiment` returns it. At most 100 points per line.
    """
    four_panels.four_panels(frame, axes, panels.FINE)
    panels.paired_ends(axes[0], style.curves(frame))
    return axes


def figure(*frames: pd.DataFrame | None) -> Figure:
    """Draw the four panels for each size, with one legend above."""
    return blocks(frames, fig6, (2, 2), (8.5, 5.4), legend=True)
