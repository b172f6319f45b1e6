"""Backpropagation on Online Permuted MNIST (paper figure 2): step sizes, widths, rates of change, published size."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from cbp_experiments.analysis.tenths import show
from cbp_experiments.figures import panels, style
from cbp_experiments.figures.captions import is_published_size

STEP_SIZES = ("learner.step_size", "Step size")
WIDTHS = ("network.width", "Units in a layer")
WIDTH = 3.6  # of a panel, inches
RATES = ("data.task_length", "A new permutation every ... examples")


def fig2b(frames: Sequence[pd.DataFrame | None], axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw online accuracy, at most 100 points per line, into four axes.

    frames: of step sizes, widths, rates of change and the published size, as `results.load_experiment` returns them;
    None if there are no runs, which the panel then says. The rates of change are drawn over the examples seen, because
    their tasks differ in length.
    """
    step_sizes, widths, rates, published = frames
    panel(axes[0], step_sizes, *STEP_SIZES)
    panel(axes[1], widths, *WIDTHS)
    panel(axes[2], None if rates is None else rates.drop(columns="data.tasks", errors="ignore"), *RATES, x="examples")
    size = "published size" if published is None or is_published_size(published) else "not the published size"
    panel(axes[3], published, STEP_SIZES[0], f"Step size, {size}")
    return axes


def panel(ax: Axes, frame: pd.DataFrame | None, column: str, title: str, x: str = "task") -> Axes:
    """Draw one panel: a line per value of `column`, named in a legend above the panel, with the title `title`."""
    ax.set(xlabel="Task" if x == "task" else "Examples seen (millions)", ylabel=panels.ONLINE)
    if frame is None:
        ax.set_title(title, loc="left", fontsize=9, fontweight="bold")
        ax.text(0.5, 0.5, "no runs", transform=ax.transAxes, ha="center", color="#666666")
        ax.set(xticks=[], yticks=[])
        return ax
    for curve in style.curves(frame):
        value = curve.values.get(column, frame[column].iloc[0])
        others = [f"{style.words(name)} {show(other)}" for name, other in curve.values.items() if name != column]
        name = ", ".join([show(value) if isinstance(value, float) else f"{value:,}", *others])
        style.draw_curve(ax, curve, "accuracy", panels.FINE(curve.tasks), x=x, label=curve.marked(name), runs=True)
    if x == "examples":
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:g}"))
    ax.margins(x=0.02)
    style.panel_legend(ax, title, WIDTH)
    return ax


def figure(*frames: pd.DataFrame | None) -> Figure:
    """Draw the four panels, each with its legend."""
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(8.5, 6.6), layout="constrained")
        fig2b(frames, drawn.subplots(2, 2).ravel())
    return drawn
