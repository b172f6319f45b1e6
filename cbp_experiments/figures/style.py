"""How every figure looks: one colour and label per method, one way to turn runs into a line with its band."""

import math
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cbp_experiments.summary import settings, show

# The palette of Okabe and Ito (Color Universal Design, 2008), told apart with any colour vision; its yellow, too pale
# for a line on white, is darkened.
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
SPARE_COLOURS = ("#882255", "#332288", "#664400")
DASHES = ("-", "--", ":", "-.")
LEGEND_CHARACTERS = 11  # per inch, at the legend's font size
LEGEND_LINE = 0.21  # inches
LEGEND_HANDLE = 8  # the room of the line before a label and the gap after it, in characters
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
    "savefig.dpi": 150,
}


def colour(learner: str) -> str:
    """The colour of a learner, the same in every figure; a learner that is not ours gets a spare one by its name."""
    return COLOURS.get(learner, SPARE_COLOURS[crc32(learner.encode()) % len(SPARE_COLOURS)])


@dataclass(frozen=True)
class Curve:
    """One setting in a figure.

    mark: what its label says about runs that are not complete, or nothing.
    rows: those of the frame that its mean is made of; single: those that its thin lines, one a run, are made of.
    """

    name: str
    mark: str
    colour: tuple[float, float, float]
    dashes: str
    rows: pd.DataFrame
    single: pd.DataFrame

    @property
    def label(self) -> str:
        return f"{self.name} ({self.mark})" if self.mark else self.name


def curves(frame: pd.DataFrame) -> list[Curve]:
    """One curve per setting, learners in the order of COLOURS.

    A setting with incomplete runs is drawn over the tasks that all its runs have and says so in its label. Diverged
    runs are no part of the mean; their thin lines go as far as they went, and the label counts them. Settings of one
    learner share its hue, from dark to light, and differ in their dashes.
    """
    by = settings(frame)
    order = {name: place for place, name in enumerate(COLOURS)}
    groups = [(key, rows) for key, rows in frame.groupby(by, dropna=False)]
    groups.sort(key=lambda group: order.get(group[0][0], len(order)))
    learners = [key[0] for key, _ in groups]
    result = []
    for place, (key, rows) in enumerate(groups):
        variant = place - learners.index(key[0])
        distinct = frame.loc[frame["learner.name"] == key[0], by].nunique(dropna=False)
        parts = [f"{_words(column)} {show(rows[column].iloc[0])}" for column in by if distinct[column] > 1]
        name = ", ".join([LABELS.get(key[0], key[0]), *parts])
        tint = _tint(colour(key[0]), variant, learners.count(key[0]))
        result.append(Curve(name, _mark(rows), tint, DASHES[variant % len(DASHES)], *_drawn(rows)))
    return result


def per_run(frame: pd.DataFrame, metric: str, bin_size: int) -> pd.DataFrame:
    """Mean of `metric` over each bin of `bin_size` tasks: a row per bin, indexed by its middle task, a column per run.

    Empty cells are left out of the means; a bin in which no run has a value has no row.
    """
    rows = frame[frame["task"] >= 1]
    if metric not in rows or rows.empty:
        return pd.DataFrame()
    place = (rows["task"] - 1) // bin_size
    table = rows.groupby([place.rename("bin"), "run"])[metric].mean().unstack("run")
    bounds = rows.groupby(place)["task"].agg(["min", "max"])
    table.index = pd.Index(bounds.loc[table.index].mean(axis=1), name="task")
    return table.dropna(how="all")


def binned(frame: pd.DataFrame, metric: str, bin_size: int) -> pd.DataFrame:
    """Per bin of `bin_size` tasks, over the runs of `frame`: columns mean, error (standard error), seeds.

    Indexed by the middle task of the bin. error is NaN where there is one seed only.
    """
    table = per_run(frame, metric, bin_size)
    return pd.DataFrame({"mean": table.mean(axis=1), "error": table.sem(axis=1), "seeds": table.count(axis=1)})


def draw_curve(ax: Axes, curve: Curve, metric: str, bin_size: int) -> None:
    """The mean line, its band of ±1 standard error (with two seeds or more), and a thin pale line per run."""
    single = per_run(curve.single, metric, bin_size)
    for run in single:
        ax.plot(single.index, single[run], color=curve.colour, linewidth=0.5, alpha=0.3, zorder=1, label="_run")
    line = binned(curve.rows, metric, bin_size)
    ax.plot(line.index, line["mean"], curve.dashes, color=curve.colour, linewidth=1.6, zorder=3, label=curve.label)
    low, high = line["mean"] - line["error"], line["mean"] + line["error"]
    if line["error"].notna().any():
        ax.fill_between(line.index, low, high, color=curve.colour, alpha=0.25, linewidth=0, zorder=2)


def legend(figure: Figure, ax: Axes) -> None:
    """One legend for all panels, above them, in as many columns as fit; the figure grows by its height."""
    handles, labels = ax.get_legend_handles_labels()
    room = LEGEND_CHARACTERS * figure.get_figwidth() / (max(map(len, labels)) + LEGEND_HANDLE)
    columns = max(1, min(int(room), 5, len(labels)))
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * math.ceil(len(labels) / columns))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def _drawn(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the mean and the rows of the thin lines."""
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


def _words(column: str) -> str:
    return column.rsplit(".", 1)[-1].replace("_", " ")


def _tint(base: str, variant: int, variants: int) -> tuple[float, float, float]:
    """The base colour, mixed with up to 55 % of white for the later of several variants."""
    white = 0.55 * variant / max(1, variants - 1)
    red, green, blue = (1 - white) * np.array(to_rgb(base)) + white
    return float(red), float(green), float(blue)
