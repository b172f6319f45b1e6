"""Draws a metric over the tasks in one panel: its axes and labels, its bins, and the marks at the ends of its lines."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cbp_experiments.analysis.comparisons import REFERENCE
from cbp_experiments.analysis.statistics import paired
from cbp_experiments.analysis.tenths import ends
from cbp_experiments.figures import style
from cbp_experiments.scores import SCORES, score_of

Bins = Callable[[int], int]  # from the number of tasks in a run to the number in a point
ONLINE = "Online accuracy (%)"
TEST = "Test accuracy (%)"
LABELS = {
    "accuracy": ONLINE,
    "dead_units": "Dead units (%)",
    "weight_magnitude": "Weight magnitude (mean |w|)",
    "effective_rank": "Effective rank (% of units)",
}
INSIDE = ("dead_units", "weight_magnitude", "effective_rank")  # what is measured within the network
GAP = 0.016  # between the marks at the ends of the lines, as a fraction of the lines' width


def at_most(points: int) -> Bins:
    """Return the smallest bins with which a line has at most this many points."""
    return lambda tasks: -(-tasks // points)


def every_task(tasks: int) -> int:
    return 1


def as_published(tasks: int) -> int:
    """Return 50 tasks, as in the paper on Continual ImageNet; a fifteenth of them if there are fewer than 750."""
    return min(50, at_most(15)(tasks))


FINE = at_most(100)


def over_tasks(
    ax: Axes, curves: Iterable[style.Curve], metric: str, bins: Bins = FINE, *, label: str = "", runs: bool = False
) -> Axes:
    """Draw the curves of one metric into `ax`. label: of the y axis; runs: whether to draw a thin line per run, too."""
    for curve in curves:
        style.draw_curve(ax, curve, metric, bins(curve.tasks), runs=runs)
    ax.set(xlabel="Task", ylabel=label or LABELS.get(metric) or _name(metric))
    ax.margins(x=0.02)
    if metric == "dead_units":
        ax.set_ylim(bottom=0)
    return ax


def _name(metric: str) -> str:
    return SCORES[metric].words.capitalize() if metric in SCORES else metric


def inside(frame: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw what happens inside the network into three axes: dead units, weight magnitude and effective rank."""
    curves = style.curves(frame)
    for ax, metric in zip(axes, INSIDE, strict=True):
        over_tasks(ax, curves, metric)
    return axes


def reference_of(curves: Sequence[style.Curve]) -> style.Curve:
    """Return the curve that the others are compared with: CBP or, without CBP, the first."""
    return next((curve for curve in curves if curve.learner == REFERENCE), curves[0])


def paired_ends(ax: Axes, curves: Sequence[style.Curve]) -> None:
    """Draw, to the right of each score line, its mean over the last tenth of the tasks with a bar around it.

    The bar is as long as the 95 % t interval of the difference to `reference_of`, paired by seed. A dotted line marks
    the mean of the reference; a setting whose bar crosses it is not apart from the reference. Only complete runs count.
    """
    score = score_of(curves[0].rows.columns).column
    last = {curve.label: ends(curve.rows, score).set_index("seed")["last"] for curve in curves}
    reference = reference_of(curves)
    ours = last[reference.label]
    drawn = np.concatenate([np.asarray(line.get_xdata(), float) for line in ax.lines])
    there = [curve for curve in curves if len(last[curve.label])]
    if not there:
        return
    end, gap = drawn.max(), GAP * (np.ptp(drawn) or 1.0)
    for place, curve in enumerate(there, start=2):
        mean, found = last[curve.label].mean(), paired(last[curve.label], ours)
        barred = found.known and curve is not reference
        bar = [[found.mean - found.low], [found.high - found.mean]] if barred else None
        marks: dict[str, Any] = {"fmt": "o", "color": curve.colour, "markersize": 3, "elinewidth": 1.4}
        ax.errorbar(end + place * gap, mean, bar, label="_end", **marks)
    if len(ours):
        span = [end + gap, end + (len(there) + 2) * gap]
        ax.plot(span, [ours.mean()] * 2, ":", color=reference.colour, linewidth=1.0, label="_reference")
