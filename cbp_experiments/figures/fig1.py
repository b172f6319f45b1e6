"""Backpropagation on Continual ImageNet (paper figure 1): the first ten tasks, and all of them in bins."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cbp_experiments.figures import panels, style

FIRST = 10


def fig1(frame: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw test accuracy per setting into two axes: a point for each of the first ten tasks, and all tasks in bins.

    frame: as `results.load_experiment` returns it.
    """
    left, right = axes
    first = style.curves(frame[frame["task"] <= FIRST])
    panels.over_tasks(left, first, "accuracy", panels.every_task, label=panels.TEST, runs=True)
    panels.over_tasks(right, style.curves(frame), "accuracy", panels.as_published, label=panels.TEST, runs=True)
    for line in left.lines:
        if line.get_label() != "_run":
            line.set_marker("o")
            line.set_markersize(3)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_title("The first ten tasks")
    right.set_title("All tasks")
    return axes


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the two panels with their legend above."""
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(8.5, 3.4), layout="constrained")
        axes = drawn.subplots(1, 2, width_ratios=(2, 3), sharey=True)
        fig1(frame, axes)
        axes[1].set_ylabel("")
        style.legend(drawn, axes[1])
    return drawn
