"""Continual backpropagation against BP, L2 and SnP on Online Permuted MNIST (paper figure 6): the four metrics."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import four_panels, panels, style

LEARNERS = ("bp", "l2", "snp", "cbp")


def fig6(frame: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw online accuracy and its ends, dead units, weight magnitude and effective rank into four axes.

    frame: as `results.load_experiment` returns it. At most 100 points a line.
    """
    four_panels.four_panels(frame, axes, panels.FINE)
    panels.paired_ends(axes[0], style.curves(frame))
    return axes


def figure(frame: pd.DataFrame) -> Figure:
    """The four panels with their legend above."""
    return four_panels.figure(frame, fig6)
