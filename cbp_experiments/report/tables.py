"""All methods of an experiment in one table, with 95 % t intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from cbp_experiments.analysis.comparisons import REFERENCE
from cbp_experiments.analysis.statistics import no_interval, t_interval
from cbp_experiments.analysis.tenths import collapsed, ends, show
from cbp_experiments.figures import style
from cbp_experiments.figures.panels import INSIDE
from cbp_experiments.report.changes import Change, change, corrected
from cbp_experiments.report.findings import UNITS, p_value, spread
from cbp_experiments.scores import ACCURACY, Score, score_of

# The keys, besides the step size, in which a learner's published and tuned settings differ; and short words for keys.
OWN = {
    "l2": ("weight_decay",),
    "snp": ("weight_decay", "perturbation_std"),
    "dropout": ("dropout",),
    "onlinenorm": ("normalization_decay",),
    "adam": ("beta2",),
    "cbp": ("replacement_rate",),
}
SHORT = {
    "step_size": "step", "weight_decay": "decay", "perturbation_std": "noise", "normalization_decay": "decay",
    "replacement_rate": "rate",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A mean, its interval (empty with one run), and whether it is the best of its column."""

    mean: str
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class MethodRow:
    """A setting: its name, colour and values, the number of complete runs, how many of them collapsed.

    collapsed: empty if none did; unknown: the runs do not record the number of classes, so chance is unknown. cells:
    one per column of `columns`. difference: CBP minus this setting in the score of the last tenth, paired by seed, with
    the p value after Holm's correction; empty without CBP.
    """

    name: str
    colour: str
    settings: str
    seeds: int
    collapsed: str
    unknown: bool
    cells: list[Cell]
    difference: str


FIRST, FINAL = 0, 2  # columns; FINAL ranks the rows


def columns(score: Score) -> tuple[str, ...]:
    """Return the titles of a row's cells."""
    of_score = [f"{score.title}, {when}{score.in_brackets}" for when in ("first tenth", "all tasks", "last tenth")]
    return (*of_score, "Dead units (%)", "Mean |weight|", "Effective rank (%)")


def methods(frame: pd.DataFrame) -> list[MethodRow]:
    """Make a row per setting, ranked by score in the last tenth of the tasks; the last three columns are of it, too.

    The cells are means over the complete runs, including collapsed ones, with 95 % t intervals over seeds.
    """
    curves, score = style.curves(frame), score_of(frame.columns)
    rows = []
    for curve, difference in zip(curves, differences(curves, score), strict=True):
        runs = frame[frame["run"].isin(curve.rows["run"]) & (frame["status"] == "complete")]
        if len(runs):
            scores = ends(runs, score.column)
            average = runs.groupby("run")[score.column].mean()
            cells = [
                *(_cell(values, score.decimals) for values in (scores["first"], average, scores["last"])),
                *(_cell(ends(runs, metric)["last"], UNITS[metric][2]) for metric in INSIDE),
            ]
            row = MethodRow(
                name=curve.name,
                colour=style.colour(curve.learner),
                settings=values_of(curve.learner, runs),
                seeds=len(scores),
                collapsed=collapsed(runs),
                unknown=score == ACCURACY and ("classes" not in runs or bool(runs["classes"].isna().any())),
                cells=cells,
                difference=difference,
            )
            rows.append((score.better_first(float(scores["last"].mean())), row))
    rows.sort(key=lambda row: row[0])
    if rows:
        best = rows[0][1].cells
        best[FINAL] = replace(best[FINAL], best=True)
    return [row for _, row in rows]


def values_of(learner: str, runs: pd.DataFrame) -> str:
    """Format the step size of a setting and its learner's other keys (OWN): "step 0.003, rate 0.0001"."""
    names = [name for name in ("step_size", *OWN.get(learner, ())) if f"learner.{name}" in runs]
    values = [(SHORT.get(name, style.words(name)), runs[f"learner.{name}"].iloc[0]) for name in names]
    return ", ".join(f"{word} {show(value)}" for word, value in values)


def differences(curves: Sequence[style.Curve], score: Score) -> list[str]:
    """Describe CBP minus each of the curves; empty for CBP itself, and for all if there is no CBP."""
    ours = next((curve for curve in curves if curve.learner == REFERENCE), None)
    if ours is None:
        return [""] * len(curves)
    last = [ends(curve.rows, score.column).set_index("seed")["last"] for curve in curves]
    (reference,) = [values for curve, values in zip(curves, last, strict=True) if curve is ours]
    others = [values.iloc[:0] if values is reference else values for values in last]  # CBP is not tested against itself
    return [_difference(c, score.column) for c in corrected([change("", values, reference) for values in others])]


def _difference(c: Change, metric: str) -> str:
    if not c.known:
        return f"{spread(c, metric)} ({no_interval(c.difference.n)})" if c.seeds else ""
    return f"{spread(c, metric)}, {p_value(c)}{'' if c.rises or c.falls else ': not apart'}"


def _cell(values: pd.Series, decimals: int) -> Cell:
    found = t_interval(values)
    if not found.n:
        return Cell("–")
    within = f"{found.low:.{decimals}f} to {found.high:.{decimals}f}" if found.n > 1 else ""
    return Cell(f"{found.mean:.{decimals}f}", within)
