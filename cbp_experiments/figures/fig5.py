"""The methods of figure 4, inside their networks (paper figure 5)."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import panels
from cbp_experiments.figures.blocks import blocks


def fig5(frame: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw dead units, weight magnitude and effective rank, at most 100 points per line, into three axes.

    frame: as `results.load_experiment` returns it, only with learners that have hidden units.
    """
    return panels.inside(frame, axes)


def figure(*frames: pd.DataFrame | None) -> Figure:
    """Draw the three panels for each size, with one legend above."""
    return blocks(frames, fig5, (1, 3), (9.0, 3.2), legend=True)
