"""What the runs say to the paper's claims: numbers with 95 % bootstrap intervals over seeds, computed from frames.

A `frame` is what `results.load_experiment` returns. Only complete runs count. Differences are taken within a
seed: its learners have seen the same stream, and started from the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cbp_experiments.figures import style
from cbp_experiments.summarize import interval
from cbp_experiments.summary import ends

KEPT = 1.0  # percentage points of accuracy that may be lost where it is said to be kept
UNITS = {
    "accuracy": ("accuracy", " %", 2),
    "dead_units": ("dead units", " %", 2),
    "weight_magnitude": ("mean |weight|", "", 4),
    "effective_rank": ("effective rank", " %", 2),
}


@dataclass(frozen=True)
class Finding:
    """A sentence with its numbers. agrees: with the paper's claim; None: too few complete runs to say."""

    text: str
    agrees: bool | None


@dataclass(frozen=True)
class Change:
    """A mean over `seeds` runs that went from `start` to `last`, by `difference`, with its 95 % interval."""

    name: str
    seeds: int
    start: float
    last: float
    difference: float
    low: float
    high: float

    @property
    def falls(self) -> bool:
        return bool(self.high < 0)

    @property
    def rises(self) -> bool:
        return bool(self.low > 0)

    @property
    def known(self) -> bool:
        return bool(np.isfinite([self.low, self.high]).all())


def change(name: str, start: np.ndarray, last: np.ndarray) -> Change:
    """From the values `[runs]` before and after, in the same order; runs without one of them do not count."""
    there = np.isfinite(start) & np.isfinite(last)
    start, last = start[there], last[there]
    low, high = interval(last - start)
    before, after = (float(values.mean()) if len(values) else np.nan for values in (start, last))
    return Change(name, len(start), before, after, after - before, low, high)


def changes(frame: pd.DataFrame, metric: str, start: str = "first") -> list[Change]:
    """From the first tenth of the tasks to the last, for each setting; start="best": from its best twentieth."""
    found = []
    for curve in style.curves(frame):
        rows = frame[frame["run"].isin(curve.rows["run"])]
        runs = ends(rows, metric)
        before = runs["first"] if start == "first" else best_twentieth(rows, metric).reindex(runs.index)
        found.append(change(curve.name, before.to_numpy(float), runs["last"].to_numpy(float)))
    return found


def best_twentieth(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Mean of `metric` in the best twentieth of the tasks before the last tenth: for each complete run of one setting.

    Which twentieth that is, the mean of the other runs decides: a run that chose for itself would choose its luck.
    """
    complete = rows[rows["status"] == "complete"]
    tasks = int(complete["task"].max()) if len(complete) else 1
    size = max(1, tasks // 20)
    place = ((complete["task"] - 1) // size).rename("bin")
    early = (place + 1) * size <= tasks - max(1, tasks // 10)
    table = complete[early].groupby([place[early], "run"])[metric].mean().unstack("run")
    others = {run: table.drop(columns=run).mean(axis=1) if table.shape[1] > 1 else table[run] for run in table}
    return pd.Series({run: table.loc[mean.idxmax(), run] for run, mean in others.items()}, dtype=float)


def moves(frame: pd.DataFrame, metric: str, claim: str) -> list[Finding]:
    """Whether `metric` "falls" or "rises", as claimed, from the first tenth of the tasks to the last, per setting."""
    what = UNITS[metric][0]
    return [
        _finding(c, f"{what} {_from_to(c, metric)}: {_verdict(c)}", getattr(c, claim)) for c in changes(frame, metric)
    ]


def loses(frame: pd.DataFrame) -> list[Finding]:
    """Whether accuracy falls from its best twentieth of the tasks to the last tenth: one per setting.

    A network that learns slowly is still getting better in the first tenth, so that its loss does not show from there.
    """
    found = []
    for best, first in zip(changes(frame, "accuracy", "best"), changes(frame, "accuracy"), strict=True):
        text = (
            f"from {best.start:.2f} % in its best twentieth of the tasks to {best.last:.2f} % in the last tenth, "
            f"{_difference(best, 'accuracy')}: {_verdict(best)}. The first tenth: {first.start:.2f} %, "
            f"{_difference(first, 'accuracy')} to the last"
        )
        found.append(_finding(best, text, best.falls))
    return found


def keeps(frame: pd.DataFrame, learner: str) -> list[Finding]:
    """Whether a learner's accuracy in the last tenth of the tasks is no more than KEPT below that in the first."""
    found = []
    for c in changes(frame[frame["learner.name"] == learner], "accuracy"):
        kept = bool(c.low > -KEPT)
        verdict = f"{'kept' if kept else 'not kept'} to within {KEPT:g} point" if c.known else _verdict(c)
        found.append(_finding(c, f"accuracy {_from_to(c, 'accuracy')}: {verdict}", kept))
    return found


def compare(frame: pd.DataFrame, metric: str, learner: str, others: Sequence[str], claim: str) -> list[Finding]:
    """Whether a learner ends "above" or "below" each of the others, as claimed, in the last tenth of the tasks."""
    what, unit, decimals = UNITS[metric]
    found = []
    for other in others:
        ours, theirs = (last_by_seed(frame, name, metric) for name in (learner, other))
        seeds = ours.index.intersection(theirs.index)
        c = change("", theirs[seeds].to_numpy(float), ours[seeds].to_numpy(float))
        names = style.LABELS.get(learner, learner), style.LABELS.get(other, other)
        if not c.seeds:
            found.append(Finding(f"{names[0]} against {names[1]}, {what}: no complete runs to compare.", None))
            continue
        where = "above" if c.rises else "below" if c.falls else "not apart from" if c.known else "next to"
        text = (
            f"{what} at the end: {names[0]} {c.last:.{decimals}f}{unit}, {where} {names[1]} with "
            f"{c.start:.{decimals}f}{unit}; {_difference(c, metric)}."
        )
        agrees = c.rises if claim == "above" else c.falls
        found.append(Finding(text[0].upper() + text[1:], agrees if c.known else None))
    return found


def best_of(frame: pd.DataFrame, learner: str) -> list[Finding]:
    """The order of all learners by accuracy in the last tenth of the tasks, and whether `learner` leads it."""
    names = [name for name in frame["learner.name"].unique() if len(last_by_seed(frame, name, "accuracy"))]
    means = {name: float(last_by_seed(frame, name, "accuracy").mean()) for name in names}
    order = sorted(means, key=lambda name: -means[name])
    text = ", ".join(f"{style.LABELS.get(name, name)} {means[name]:.2f} %" for name in order)
    against = compare(frame, "accuracy", learner, [name for name in order if name != learner], "above")
    verdicts = [finding.agrees for finding in against]
    agrees = None if learner not in means or not verdicts or None in verdicts else all(verdicts)
    return [Finding(f"Order at the end: {text or 'no complete runs'}.", agrees)]


def last_by_seed(frame: pd.DataFrame, learner: str, metric: str) -> pd.Series:
    """A learner's mean of `metric` in the last tenth of the tasks, by seed."""
    rows = frame[frame["learner.name"] == learner]
    if rows.empty:
        return pd.Series(dtype=float)
    return ends(rows, metric).groupby("seed")["last"].mean().dropna()


def spread_by_seed(frame: pd.DataFrame, learner: str, neighbours: int | None = None) -> pd.Series:
    """Percentage points between a learner's best and worst setting at the end, by seed.

    Seeds that lack a setting do not count. neighbours: of so many settings next to each other, the ones that end
    closest together and highest: those whose worst is best, on the mean over seeds.
    """
    rows = frame[frame["learner.name"] == learner]
    last = {}
    for curve in style.curves(rows) if len(rows) else []:
        runs = ends(rows[rows["run"].isin(curve.rows["run"])], "accuracy")
        last[curve.name] = runs.set_index("seed")["last"]
    table = pd.DataFrame(last).dropna()
    if neighbours and table.shape[1] > neighbours:
        worst = [table.iloc[:, i : i + neighbours].mean().min() for i in range(table.shape[1] - neighbours + 1)]
        start = int(np.argmax(worst))
        table = table.iloc[:, start : start + neighbours]
    return table.max(axis=1) - table.min(axis=1) if table.shape[1] > 1 else pd.Series(dtype=float)


def steadier(frame: pd.DataFrame, learner: str, others: Sequence[str], neighbours: int | None = None) -> list[Finding]:
    """Whether the settings of `learner` end closer together than those of each of the others."""
    found = []
    ours = spread_by_seed(frame, learner, neighbours)
    which = f"{neighbours} neighbouring settings" if neighbours else "all settings"
    for other in others:
        theirs = spread_by_seed(frame, other)
        seeds = ours.index.intersection(theirs.index)
        c = change("", theirs[seeds].to_numpy(float), ours[seeds].to_numpy(float))
        text = (
            f"Between the best and the worst of {which} of {style.LABELS[learner]}: {c.last:.2f} points at the end; of "
            f"{style.LABELS[other]}: {c.start:.2f} points; {_difference(c, 'accuracy')}."
        )
        nothing = f"{style.LABELS[learner]} against {style.LABELS[other]}: no complete runs to compare."
        found.append(Finding(text if c.seeds else nothing, c.falls if c.known else None))
    return found


def _finding(c: Change, text: str, agrees: bool) -> Finding:
    """About one setting; what cannot be said is not."""
    if not c.seeds:
        return Finding(f"{c.name}: no complete runs.", None)
    return Finding(f"{c.name}: {text}.", agrees if c.known else None)


def _from_to(c: Change, metric: str) -> str:
    _, unit, decimals = UNITS[metric]
    return f"{c.start:.{decimals}f}{unit} → {c.last:.{decimals}f}{unit}, {_difference(c, metric)}"


def _difference(c: Change, metric: str) -> str:
    _, unit, decimals = UNITS[metric]
    numbers = [f"{number:+.{decimals}f}".replace("-", "−") for number in (c.difference, c.low, c.high)]
    between = f" [{numbers[1]}, {numbers[2]}]" if c.known else ""
    return f"{numbers[0]}{between}{' points' if unit else ''}{'' if c.known else ' (one run, no interval)'}"


def _verdict(c: Change) -> str:
    if not c.known:
        return "too few runs to say"
    return "it falls" if c.falls else "it rises" if c.rises else "no change beyond chance"
