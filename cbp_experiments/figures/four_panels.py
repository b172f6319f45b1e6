"""The four metrics over the tasks, for the learners of one experiment (paper figure 6; the demo's figure)."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import panels, style

POINTS = 40  # at most, on a line


def four_panels(
    frame: pd.DataFrame, axes: Sequence[Axes], bin_size: int | None = None, runs: bool = True
) -> Sequence[Axes]:
    """Draw online accuracy, dead units, weight magnitude and effective rank over tasks into four axes; returns them.

    frame: as `results.load_experiment` returns it. bin_size: tasks per point; by default as few as give 40 points.
    runs: a thin line per run, too.
    """
    curves = style.curves(frame)
    for ax, metric in zip(axes, panels.LABELS, strict=True):
        panels.over_tasks(ax, curves, metric, bin_size or default_bin_size(frame), runs=runs)
    return axes


def figure(frame: pd.DataFrame, bin_size: int | None = None, runs: bool = True) -> Figure:
    """The four panels with their legend above."""
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(8.5, 6.4), layout="constrained")
        axes = drawn.subplots(2, 2).ravel()
        four_panels(frame, axes, bin_size, runs)
        style.legend(drawn, axes[0])
    return drawn


def default_bin_size(frame: pd.DataFrame) -> int:
    """The number of tasks per point that keeps a line to 40 points."""
    return max(1, -(-int(frame["task"].max()) // POINTS))
