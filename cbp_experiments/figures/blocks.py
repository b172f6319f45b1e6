"""Runs of several sizes in one figure: the same panels for each, one block below the other."""

from collections.abc import Callable, Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.figures import style
from cbp_experiments.figures.captions import heading


def blocks(
    frames: Sequence[pd.DataFrame | None],
    draw: Callable[[pd.DataFrame, Sequence[Axes]], object],
    panels: tuple[int, int],
    size: tuple[float, float],
    *,
    legend: bool = False,
) -> Figure:
    """Draw a block for each frame that is not None, under a heading that names its size.

    draw: draws a frame into the axes of a block; panels: how many rows and columns of axes; size: width and height of a
    block, in inches; legend: whether to draw one above all blocks.
    """
    there = [frame for frame in frames if frame is not None]
    (rows, columns), (width, height) = panels, size
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(width, height * len(there)), layout="constrained")
        axes = drawn.subplots(rows * len(there), columns, squeeze=False).reshape(len(there), -1)
        for frame, block in zip(there, axes, strict=True):
            draw(frame, list(block))
            block[0].set_title(heading(frame), loc="left", fontsize=10, fontweight="bold")
        if legend:
            style.legend(drawn, *axes[:, 0])
    return drawn
