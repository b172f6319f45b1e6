"""Changes from one mean to another, paired by seed: from early tasks to late ones, or from one learner to another.

A `frame` is what `results.load_experiment` returns. Only complete runs count, including collapsed ones. Differences are
taken within a seed: its learners saw the same stream and started from the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from cbp_experiments.analysis.statistics import SIGNIFICANT, Difference, holm, paired
from cbp_experiments.analysis.tenths import collapsed, ends
from cbp_experiments.figures import style


@dataclass(frozen=True)
class Change:
    """A change from the mean `start` to the mean `last`, over the seeds that have both values, and the difference.

    name: of the setting or learner; collapsed: how many of its runs ended at chance, in words; empty if none did.
    """

    name: str
    start: float
    last: float
    difference: Difference
    collapsed: str = ""

    @property
    def seeds(self) -> int:
        return self.difference.n

    @property
    def known(self) -> bool:
        return self.difference.known

    @property
    def falls(self) -> bool:
        return self.known and self.difference.p < SIGNIFICANT and self.difference.mean < 0

    @property
    def rises(self) -> bool:
        return self.known and self.difference.p < SIGNIFICANT and self.difference.mean > 0


def change(name: str, start: pd.Series, last: pd.Series, collapsed: str = "") -> Change:
    """Compute the change between values by seed; seeds without one of the values do not count."""
    seeds = start.dropna().index.intersection(last.dropna().index)
    return Change(name, float(start[seeds].mean()), float(last[seeds].mean()), paired(last, start), collapsed)


def corrected(changes: Sequence[Change]) -> list[Change]:
    """Return the same changes with Holm's correction for all of them."""
    adjusted = holm([c.difference.p for c in changes])
    return [replace(c, difference=replace(c.difference, p=p)) for c, p in zip(changes, adjusted, strict=True)]


def changes(frame: pd.DataFrame, metric: str, start: str | tuple[int, int] = "first") -> list[Change]:
    """Compute the change from the first tenth of the tasks to the last, for each setting.

    start: "best" is from the best twentieth of the tasks instead; (11, 50) is from tasks 11 to 50, both included.
    """
    found = []
    for curve in style.curves(frame):
        rows = frame[frame["run"].isin(curve.rows["run"])]
        runs = ends(rows, metric)
        if start == "best":
            runs["first"] = best_twentieth(rows, metric).reindex(runs.index)
        elif start != "first":
            runs["first"] = of_tasks(rows, metric, *start).reindex(runs.index)
        by_seed = runs.set_index("seed")
        found.append(change(curve.name, by_seed["first"], by_seed["last"], collapsed(rows)))
    return found


def of_tasks(rows: pd.DataFrame, metric: str, first: int, last: int) -> pd.Series:
    """Average `metric` over the tasks from `first` to `last`, both included, for each complete run."""
    complete = rows[(rows["status"] == "complete") & rows["task"].between(first, last)]
    return complete.groupby("run")[metric].mean()


def best_twentieth(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Average `metric` over the best twentieth of the tasks before the last tenth, for each complete run of a setting.

    The mean of the other runs decides which twentieth is best: if a run chose its own, it would pick its luckiest one.
    """
    complete = rows[rows["status"] == "complete"]
    tasks = int(complete["task"].max()) if len(complete) else 1
    size = max(1, tasks // 20)
    place = ((complete["task"] - 1) // size).rename("bin")
    early = (place + 1) * size <= tasks - max(1, tasks // 10)
    table = complete[early].groupby([place[early], "run"])[metric].mean().unstack("run")
    others = {run: table.drop(columns=run).mean(axis=1) if table.shape[1] > 1 else table[run] for run in table}
    return pd.Series({run: table.loc[mean.idxmax(), run] for run, mean in others.items()}, dtype=float)


def against(frame: pd.DataFrame, metric: str, learner: str, others: Sequence[str]) -> list[Change]:
    """Compute the change from each of `others` to `learner` in the last tenth of the tasks, with Holm's correction."""
    ours = last_by_seed(frame, learner, metric)
    found = []
    for other in others:
        rows = frame[frame["learner.name"].isin([learner, other])]
        fell = [
            f"{style.LABELS.get(name, name)}: {words}"
            for name, part in rows.groupby("learner.name", sort=False)
            if (words := collapsed(part))
        ]
        found.append(change(other, last_by_seed(frame, other, metric), ours, "; ".join(fell)))
    return corrected(found)


def last_by_seed(frame: pd.DataFrame, learner: str, metric: str) -> pd.Series:
    """Average a learner's `metric` over the last tenth of the tasks, by seed."""
    rows = frame[frame["learner.name"] == learner]
    if rows.empty:
        return pd.Series(dtype=float)
    return ends(rows, metric).groupby("seed")["last"].mean().dropna()
