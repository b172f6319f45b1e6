"""The four metrics over the tasks, for the learners of one experiment (the demo's figure; paper figure 6)."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import panels, style
from cbp_experiments.scores import score_of

FEW = panels.at_most(40)


def four_panels(frame: pd.DataFrame, axes: Sequence[Axes], bins: panels.Bins = FEW) -> Sequence[Axes]:
    """Draw the score, dead units, weight magnitude and effective rank over tasks into four axes; returns them.

    frame: as `results.load_experiment` returns it. Each run gets a thin line, too.
    """
    curves = style.curves(frame)
    metrics = (score_of(frame.columns).column, *panels.INSIDE)
    for ax, metric in zip(axes, metrics, strict=True):
        panels.over_tasks(ax, curves, metric, bins, runs=True)
    return axes


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the four panels with their legend above."""
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(8.5, 6.4), layout="constrained")
        axes = four_panels(frame, drawn.subplots(2, 2).ravel())
        style.legend(drawn, axes[0])
    return drawn
