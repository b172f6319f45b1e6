"""Why plasticity is lost: inside networks that backpropagation trains at three step sizes (paper figure 3)."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import panels, style


def fig3(frame: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw dead units, weight magnitude and effective rank, at most 100 points per line, into three axes.

    frame: as `results.load_experiment` returns it. Bins in which the rank was not measured have no point.
    """
    return panels.inside(frame, axes)


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the three panels with their legend above."""
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(10.0, 3.2), layout="constrained")
        style.legend(drawn, fig3(frame, drawn.subplots(1, 3))[0])
    return drawn
