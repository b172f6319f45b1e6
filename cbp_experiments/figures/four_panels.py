"""The four metrics over the tasks, for the learners of one experiment (paper figure 6; the demo's figure)."""

import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import style
from cbp_experiments.summary import show

PANELS = {
    "accuracy": "Online accuracy (%)",
    "dead_units": "Dead units (%)",
    "weight_magnitude": "Weight magnitude (mean |w|)",
    "effective_rank": "Effective rank (% of units)",
}
POINTS = 40  # at most, on a line
CAPTION_WIDTH = 130  # characters


def four_panels(frame: pd.DataFrame, axes: Sequence[Axes], bin_size: int | None = None) -> Sequence[Axes]:
    """Draw online accuracy, dead units, weight magnitude and effective rank over tasks into four axes; returns them.

    frame: as `results.load_experiment` returns it. bin_size: tasks per point; by default as few as give 40 points.
    """
    bin_size = bin_size or default_bin_size(frame)
    curves = style.curves(frame)
    for ax, (metric, label) in zip(axes, PANELS.items(), strict=True):
        for curve in curves:
            style.draw_curve(ax, curve, metric, bin_size)
        ax.set_ylabel(label)
        ax.set_xlabel("Task")
        ax.margins(x=0.02)
    axes[1].set_ylim(bottom=0)
    return axes


def figure(frame: pd.DataFrame) -> Figure:
    """The four panels with their legend above and their caption below."""
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(8.5, 6.4), layout="constrained")
        axes = drawn.subplots(2, 2).ravel()
        four_panels(frame, axes)
        style.legend(drawn, axes[0])
        drawn.supxlabel(caption(frame), x=0.01, ha="left", fontsize=8, color="#444444")
    return drawn


def default_bin_size(frame: pd.DataFrame) -> int:
    """The number of tasks per point that keeps a line to 40 points."""
    return max(1, -(-int(frame["task"].max()) // POINTS))


def caption(frame: pd.DataFrame, bin_size: int | None = None) -> str:
    """What is shown: experiment, measure, seeds, bins, data, network and tasks, wrapped to the figure's width."""
    bin_size = bin_size or default_bin_size(frame)
    counts = {curve.name: curve.rows["run"].nunique() for curve in style.curves(frame)}
    one = set(counts.values())
    seeds = f"{one.pop()} each" if len(one) == 1 else "; ".join(f"{n} for {name}" for name, n in counts.items())
    facts = [
        _named(frame, "data_description", "{}"),
        _named(frame, "scale", "scale {}"),
        _named(frame, "network.width", "width {}"),
        _named(frame, "data.tasks", "{} tasks"),
        _named(frame, "data.task_length", "{} examples a task"),
        f"bins of {bin_size} tasks" if bin_size > 1 else "a point a task",
    ]
    shown = f"mean and ±1 standard error over seeds ({seeds}); thin lines: each seed."
    text = f"{_named(frame, 'experiment', '{}: ')}{shown} {', '.join(fact for fact in facts if fact)}."
    return textwrap.fill(text, CAPTION_WIDTH)


def _named(frame: pd.DataFrame, column: str, words: str) -> str:
    """The values of a config column in words; empty when the runs do not have it."""
    values = frame[column].dropna().unique() if column in frame else []
    texts = [f"{value:,}" if isinstance(value, int | np.integer) else show(value) for value in values]
    return words.format(" / ".join(texts)) if texts else ""
