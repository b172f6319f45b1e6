"""How every figure looks: one colour and label per method, one way to turn runs into a line with its band."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from scipy.optimize import isotonic_regression

from cbp_experiments.analysis.statistics import t_intervals
from cbp_experiments.analysis.tenths import settings, show

# The palette of Okabe and Ito (Color Universal Design, 2008), made for any colour vision. Its yellow is darkened: it is
# too pale for a line on white.
COLOURS = {
    "bp": "#D55E00",
    "cbp": "#0072B2",
    "l2": "#E69F00",
    "snp": "#009E73",
    "dropout": "#CC79A7",
    "onlinenorm": "#56B4E9",
    "batchnorm": "#A89A00",
    "adam": "#000000",
    "linear": "#999999",
}
LABELS = {
    "bp": "BP",
    "cbp": "CBP",
    "l2": "L2",
    "snp": "SnP",
    "dropout": "Dropout",
    "onlinenorm": "Online norm",
    "batchnorm": "Batch norm",
    "adam": "Adam",
    "linear": "Linear",
}
SPARE_COLOURS = ("#882255", "#332288", "#664400", "#117733", "#AA4499", "#6699CC")
LEGEND_CHARACTERS = 11  # per inch, at the legend's font size
LEGEND_LINE = 0.21  # inches
LABEL_LINE = 0.17  # inches
LEGEND_HANDLE = 8  # room for the line before a label and the gap after it, in characters
PANEL_CHARACTERS, PANEL_HANDLE = 17, 5  # the same for the legend of one panel
RC: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 9.0,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "pdf.fonttype": 42,
    "svg.hashsalt": "cbp_experiments",  # names of the parts: the same in every file
    "savefig.dpi": 150,
}


def colour(learner: str) -> str:
    """Return the colour of a learner, the same in every figure; a user's own learner gets a spare colour by name."""
    return COLOURS.get(learner, SPARE_COLOURS[crc32(learner.encode()) % len(SPARE_COLOURS)])


@dataclass(frozen=True)
class Curve:
    """One setting in a figure.

    values: what distinguishes it from the other settings of its learner, by config column.
    mark: what its label says about runs that are not complete; empty if all are.
    rows: the rows of the frame for its mean; single: the rows for its thin lines, one line per run.
    """

    learner: str
    values: dict[str, object]
    mark: str
    colour: tuple[float, float, float]
    rows: pd.DataFrame
    single: pd.DataFrame

    @property
    def name(self) -> str:
        parts = [f"{words(column)} {show(value)}" for column, value in self.values.items()]
        return ", ".join([LABELS.get(self.learner, self.learner), *parts])

    @property
    def tasks(self) -> int:
        """The number of tasks in a run; without the config, in the longest run so far."""
        rows = pd.concat([self.rows, self.single])
        return max(1, int(rows["data.tasks" if "data.tasks" in rows else "task"].max()))

    @property
    def label(self) -> str:
        return self.marked(self.name)

    def marked(self, name: str) -> str:
        return f"{name} ({self.mark})" if self.mark else name


def colours(learners: Iterable[str]) -> dict[str, str]:
    """Return the colours of the learners of one figure, in which no two users' own learners share one if avoidable."""
    found: dict[str, str] = {}
    for learner in learners:
        start = SPARE_COLOURS.index(colour(learner)) if learner not in COLOURS else 0
        spare = [*SPARE_COLOURS[start:], *SPARE_COLOURS[:start]]
        free = [each for each in spare if each not in found.values()]
        found[learner] = COLOURS.get(learner) or (free or spare)[0]
    return found


def curves(frame: pd.DataFrame, by: Sequence[str] | None = None) -> list[Curve]:
    """Make one curve per setting, with learners in the order of COLOURS.

    by: the columns that distinguish settings, learner.name first; those of `tenths.settings` by default.

    A setting with incomplete runs is drawn over the tasks that all its runs have, and its label says so. Diverged runs
    are not part of the mean; their thin lines end where they diverged, and the label counts them. Settings of one
    learner are shades of its colour, from dark to light.
    """
    by = list(by or settings(frame))
    order = {name: place for place, name in enumerate(COLOURS)}
    groups = [(key, rows) for key, rows in frame.groupby(by, dropna=False)]
    groups.sort(key=lambda group: order.get(group[0][0], len(order)))
    learners = [key[0] for key, _ in groups]
    base = colours(dict.fromkeys(learners))
    result = []
    for place, (key, rows) in enumerate(groups):
        learner, variant = key[0], place - learners.index(key[0])
        distinct = frame.loc[frame["learner.name"] == learner, by].nunique(dropna=False)
        values = {column: rows[column].iloc[0] for column in by if distinct[column] > 1}
        tint = shade(base[learner], variant, learners.count(learner))
        result.append(Curve(learner, values, _mark(rows), tint, *_drawn(rows)))
    return result


def per_run(frame: pd.DataFrame, metric: str, bin_size: int, x: str = "task") -> pd.DataFrame:
    """Average `metric` over bins of `bin_size` tasks: a row per bin, indexed by its middle, and a column per run.

    The middle is halfway between the lowest and the highest value of the column `x` in the bin. Empty cells are left
    out of the means; a bin in which no run has a value has no row.
    """
    rows = frame[frame["task"] >= 1]
    if metric not in rows or rows.empty:
        return pd.DataFrame()
    place = (rows["task"] - 1) // bin_size
    table = rows.groupby([place.rename("bin"), "run"])[metric].mean().unstack("run")
    bounds = rows.groupby(place)[x].agg(["min", "max"])
    table.index = pd.Index(bounds.loc[table.index].mean(axis=1), name=x)
    return table.dropna(how="all")


def binned(frame: pd.DataFrame, metric: str, bin_size: int, x: str = "task") -> pd.DataFrame:
    """Compute the mean over the runs of `frame` and its interval (`t_intervals`) for each bin of `bin_size` tasks.

    Indexed as in `per_run`.
    """
    return t_intervals(per_run(frame, metric, bin_size, x))


def draw_curve(
    ax: Axes, curve: Curve, metric: str, bin_size: int, *, x: str = "task", label: str = "", runs: bool = False
) -> None:
    """Draw the mean line and the band of its 95 % t interval (with two seeds or more).

    runs: whether to draw a thin line per run, too. The axes then fit the lines, and the band may be cut off: with two
    or three seeds it is many times as wide.

    label: the curve's own by default.
    """
    single = per_run(curve.single, metric, bin_size, x) if runs else pd.DataFrame()
    for run in single:
        ax.plot(single.index, single[run], color=curve.colour, linewidth=0.6, alpha=0.4, zorder=2.5, label="_run")
    line = binned(curve.rows, metric, bin_size, x)
    ax.plot(line.index, line["mean"], color=curve.colour, linewidth=1.6, zorder=3, label=label or curve.label)
    if line["low"].notna().any():
        limits = ax.dataLim.frozen()
        ax.fill_between(line.index, line["low"], line["high"], color=curve.colour, alpha=0.16, linewidth=0, zorder=2)
        if runs:
            ax.dataLim.set(limits)


def name_ends(ax: Axes, height: float) -> None:
    """Write the label of each line beside its end, in its colour, as near to it as the other labels allow.

    height: of the axes, roughly, in inches. The labels are in the margin to the right of the axes.
    """
    low, high = ax.get_ylim()
    gap = (high - low) * LABEL_LINE / height
    labelled = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    heights = {line: np.asarray(line.get_ydata(), float) for line in labelled}
    lines = [line for line, values in heights.items() if len(values)]
    if not lines:
        return
    ends = [heights[line][-max(1, len(heights[line]) // 20) :].mean() for line in lines]
    order = np.argsort(ends)
    apart = gap * np.arange(len(lines))
    places = isotonic_regression(np.array(ends)[order] - apart).x + apart  # the nearest that are `gap` apart
    for place, i in zip(places, order, strict=True):
        where: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "color": lines[i].get_color()}
        ax.text(1.015, place, str(lines[i].get_label()), fontsize=9, fontweight="bold", **where)
    ax.set_ylim(low, high)


def legend(figure: Figure, *axes: Axes) -> None:
    """Draw one legend for the lines of `axes` above all panels, in as many columns as fit; the figure grows by it."""
    found: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    handles, labels = list(found.values()), list(found)
    room = LEGEND_CHARACTERS * figure.get_figwidth() / (max(map(len, labels)) + LEGEND_HANDLE)
    columns = max(1, min(int(room), 5, len(labels)))
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * math.ceil(len(labels) / columns))
    _thicken(figure.legend(handles, labels, loc="outside upper left", ncols=columns, alignment="left"))


def panel_legend(ax: Axes, title: str, width: float) -> None:
    """Draw a legend above one panel that is `width` inches wide, under a title, in as many columns as fit."""
    handles, labels = ax.get_legend_handles_labels()
    room = PANEL_CHARACTERS * width / (max(map(len, labels)) + PANEL_HANDLE)
    made = ax.legend(
        handles, labels, title=title, loc="lower left", bbox_to_anchor=(-0.02, 0.99), alignment="left",
        ncols=max(1, min(int(room), len(labels))), fontsize=8, title_fontproperties={"weight": "bold", "size": 9},
        handlelength=1.0, handletextpad=0.5, columnspacing=1.0, borderpad=0.1,
    )  # fmt: skip
    _thicken(made)


def _thicken(legend: Legend) -> None:
    for line in legend.get_lines():
        line.set_linewidth(2.0)


def _drawn(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows for the mean and the rows for the thin lines."""
    last = rows.groupby("run")["task"].transform("max")
    diverged = rows["status"] == "diverged"
    common = rows["task"] <= last[~diverged].min()
    return rows[~diverged & common], rows[diverged | common]


def _mark(rows: pd.DataFrame) -> str:
    status = rows.drop_duplicates("run")["status"]
    diverged = int((status == "diverged").sum())
    marks = ["incomplete"] if (status == "incomplete").any() else []
    marks += [f"{diverged} of {len(status)} diverged"] if diverged else []
    return ", ".join(marks)


def words(column: str) -> str:
    """Return a config column as a reader would say it: learner.step_size is step size."""
    return column.rsplit(".", 1)[-1].replace("_", " ").strip()


def shade(base: str, variant: int, variants: int) -> tuple[float, float, float]:
    """Return the base colour; several variants go from mixed with black to mixed with white; black gets greys."""
    rgb = np.array(to_rgb(base))
    darkest, lightest = (-0.55 if rgb.max() > 0.3 else 0.0), 0.55
    mix = 0.0 if variants == 1 else darkest + (lightest - darkest) * variant / (variants - 1)
    red, green, blue = (1 - abs(mix)) * rgb + max(mix, 0.0)
    return float(red), float(green), float(blue)
