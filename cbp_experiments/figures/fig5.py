"""The methods of figure 4, seen from within (paper figure 5)."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import panels, style


def fig5(frame: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw dead units, weight magnitude and effective rank, at most 100 points a line, into three axes.

    frame: as `results.load_experiment` returns it; of learners that have hidden units.
    """
    return panels.inside(frame, axes)


def figure(frame: pd.DataFrame) -> Figure:
    """The three panels with their legend above."""
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(10.0, 3.6), layout="constrained")
        style.legend(drawn, fig5(frame, drawn.subplots(1, 3))[0])
    return drawn
