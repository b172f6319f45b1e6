"""A metric over the tasks in one panel: its axes and words."""

from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.axes import Axes

from cbp_experiments.figures import style

TASKS_PER_BIN = 50  # on Continual ImageNet, as the paper has it; a point a task on Online Permuted MNIST
ONLINE = "Online accuracy (%)"
TEST = "Test accuracy (%)"
LABELS = {
    "accuracy": ONLINE,
    "dead_units": "Dead units (%)",
    "weight_magnitude": "Weight magnitude (mean |w|)",
    "effective_rank": "Effective rank (% of units)",
}


def over_tasks(
    ax: Axes, curves: Iterable[style.Curve], metric: str, bin_size: int = 1, *, label: str = "", runs: bool = False
) -> Axes:
    """Draw the curves of one metric into `ax`. label: of the y axis; runs: a thin line per run, too."""
    for curve in curves:
        style.draw_curve(ax, curve, metric, bin_size, runs=runs)
    ax.set(xlabel="Task", ylabel=label or LABELS.get(metric, metric))
    ax.margins(x=0.02)
    if metric == "dead_units":
        ax.set_ylim(bottom=0)
    return ax


def inside(frame: pd.DataFrame, axes: Sequence[Axes], bin_size: int = 1) -> Sequence[Axes]:
    """What goes on in the network: dead units, weight magnitude and effective rank over tasks into three axes."""
    curves = style.curves(frame)
    for ax, metric in zip(axes, ("dead_units", "weight_magnitude", "effective_rank"), strict=True):
        over_tasks(ax, curves, metric, bin_size)
    return axes
