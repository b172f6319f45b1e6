"""The command `plot`: metrics over the tasks, for the runs of any experiments."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from cbp_experiments.analysis.selection import Selection, add_arguments, names, select
from cbp_experiments.errors import ConfigError
from cbp_experiments.figures import panels, style
from cbp_experiments.figures.captions import caption, frame_with_words
from cbp_experiments.figures.draw import KINDS, ends_compared, write_figure
from cbp_experiments.output import guarded
from cbp_experiments.results import write_atomically
from cbp_experiments.scores import score_of

PANEL = (4.25, 3.0)  # inches


def plot(frame: pd.DataFrame, metrics: Sequence[str], by: Sequence[str] | None = None, points: int = 100) -> Figure:
    """Draw a panel per metric over the tasks, with a line and its 95 % t interval for each setting.

    frame: as `results.load_experiment` returns it; by: as in `style.curves`; points: the most that a line has. The
    panel of the score has marks at its right that compare the settings, paired by seed.
    """
    curves, score = style.curves(frame, by), score_of(frame.columns)
    columns = min(2, len(metrics))
    lines = -(-len(metrics) // columns)
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(PANEL[0] * columns, PANEL[1] * lines), layout="constrained")
        axes = drawn.subplots(lines, columns, squeeze=False).ravel()
        for ax, metric in zip(axes, metrics, strict=False):
            panels.over_tasks(ax, curves, metric, panels.at_most(points), runs=True)
            if metric == score.column and len(curves) > 1:
                panels.paired_ends(ax, curves)
        for ax in axes[len(metrics) :]:
            ax.set_axis_off()
        style.legend(drawn, axes[0])
    return drawn


def picture(selection: Selection, metrics: Sequence[str], points: int) -> Figure:
    """Draw the selected runs with a caption."""
    curves = style.curves(selection.frame, selection.by)
    notes = ["thin lines: each seed"]
    if len(curves) > 1 and score_of(selection.frame.columns).column in metrics:
        notes.append(ends_compared([panels.reference_of(curves).name]))
    words = caption(selection.sources, panels.at_most(points), *notes)
    figure = plot(selection.frame, metrics, selection.by, points)
    with matplotlib.rc_context(style.RC):
        return frame_with_words(figure, "", words)


def metrics_of(frame: pd.DataFrame, named: Sequence[str] | None) -> list[str]:
    """Return the metrics to draw: those named, or the score and what is measured of the network.

    Raises ConfigError for a metric that the runs do not have.
    """
    there = [name for name in frame.columns[: frame.columns.get_loc("run")] if name not in ("task", "examples")]
    measured = [name for name in there if frame[name].notna().any()]
    if named is None:
        return [name for name in (score_of(frame.columns).column, *panels.INSIDE) if name in measured]
    for name in named:
        if name not in measured:
            raise ConfigError(f"--metrics {name}: the runs do not have it; they have {', '.join(measured)}")
    return list(named)


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 2 after a one-line error."""
    parser = argparse.ArgumentParser(prog="cbp-experiments plot", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--metrics", type=names, metavar="NAME,...", help="columns of metrics.csv")
    parser.add_argument("--points", type=int, default=100, help="the most points of a line (%(default)s)")
    parser.add_argument("--out", type=Path, help=f"a file ({', '.join(KINDS)}); by default FOLDER/plot.png")
    options = parser.parse_args(arguments)
    try:
        if options.out and options.out.suffix[1:] not in KINDS:
            raise ConfigError(
                f"--out {options.out}: name a file that ends in {', '.join(f'.{kind}' for kind in KINDS)}"
            )
        if options.points < 1:
            raise ConfigError(f"--points must be at least 1, got {options.points}")
        selection = select(options)
        out = options.out or selection.folders[0] / "plot.png"
        figure = picture(selection, metrics_of(selection.frame, options.metrics), options.points)
        write_atomically(out, partial(write_figure, figure, kind=out.suffix[1:]))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(out)
    return 0
