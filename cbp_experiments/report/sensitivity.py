"""What a tuning shows about how much learners depend on their hyperparameter, at the chosen step size.

A `frame` is what `evidence.load_tuning` returns. The score is over all tasks, on the tuning seeds; differences are
paired by seed. The best setting is chosen on the same seeds, which makes the others look a little worse than they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cbp_experiments.analysis.tenths import show
from cbp_experiments.analysis.tuning import Axis, axis_of
from cbp_experiments.figures import style
from cbp_experiments.report.changes import Change, change, corrected
from cbp_experiments.report.findings import UNITS, Finding, label, moved, points_of
from cbp_experiments.scores import Score, score_of

ROUNDING = 1 + 1e-9
DECADE = 10 * ROUNDING


@dataclass(frozen=True)
class Profile:
    """A learner's score over its hyperparameter, with everything else as in the chosen setting.

    table: the score `[seeds, values]`, values ascending, without any at which a run diverged; best: the chosen value.
    """

    learner: str
    score: Score
    axis: Axis
    others: dict[str, object]
    table: pd.DataFrame
    best: float

    @property
    def key(self) -> str:
        return style.words(self.axis.key)

    @property
    def name(self) -> str:
        others = [f"{style.words(key)} {show(value)}" for key, value in self.others.items()]
        return ", ".join([label(self.learner), *others])

    @property
    def near(self) -> list[float]:
        """The values within a factor of ten of the best."""
        return [v for v in self.table if v <= self.best * DECADE and self.best <= v * DECADE]

    @property
    def spread(self) -> pd.Series:
        """How far the worst value of `near`, by its mean over seeds, is from the best; by seed."""
        means = self.table[self.near].mean()
        worst = means.idxmin() if self.score.higher_is_better else means.idxmax()
        return (self.table[self.best] - self.table[worst]) * (1 if self.score.higher_is_better else -1)

    @property
    def reaches(self) -> bool:
        """Whether values at least a factor of ten away were tried on both sides."""
        return min(self.table) * 10 <= self.best * ROUNDING and max(self.table) * ROUNDING >= self.best * 10


def profile(frame: pd.DataFrame, learner: str) -> Profile | None:
    """Make the profile of a learner; None if no setting is chosen."""
    rows = frame[frame["learner.name"] == learner]
    chosen = rows[rows["chosen"]]
    score = score_of(frame.columns)
    if chosen.empty or chosen[score.column].isna().all():
        return None
    axis = axis_of(rows)
    others = {key: chosen[key].iloc[0] for key in axis.others}
    for key, value in others.items():
        rows = rows[rows[key] == value]
    table = rows.pivot(index="seed", columns=axis.key, values=score.column).dropna(axis=1)
    return Profile(learner, score, axis, others, table, chosen[axis.key].iloc[0])


def comes_down(frame: pd.DataFrame) -> list[Finding]:
    """Whether each learner's lowest and highest value tried are worse than its best. The paper does not claim this."""
    order = [name for name in style.COLOURS if name in set(frame["learner.name"])]
    profiles = [found for name in order if (found := profile(frame, name))]
    return [_sides(found) for found in profiles]


def _sides(of: Profile) -> Finding:
    values, best = list(of.table), of.table[of.best]
    ends = {value: change("", best, of.table[value]) for value in (values[0], values[-1]) if value != of.best}
    parts = [f"at {show(value)} {moved(c, of.score.column)}" for value, c in ends.items()]
    edge = "" if len(ends) == 2 else f"; {show(of.best)} is at the edge of what was tried"
    up = of.score.higher_is_better
    still = [show(value) for value, c in ends.items() if not (c.falls if up else c.rises)]
    turns, turned = ("comes down", "come down") if up else ("goes up", "gone up")
    verdict = (
        f"it has not {turned} at {' and '.join(still)}"
        if still
        else (f"it {turns} on both sides" if len(ends) == 2 else f"it {turns} on the other side")
    )
    _, unit, decimals = UNITS[of.score.column]
    text = f"{of.name}: best with {of.key} {show(of.best)}, {best.mean():.{decimals}f}{unit} over all tasks"
    return Finding(f"{'; '.join([text, *parts])}{edge}{f': {verdict}' if ends else ''}.", None, claim=False)


def steadier(frame: pd.DataFrame, learner: str, others: Sequence[str]) -> list[Finding]:
    """Whether a learner loses less than each of the others, within a factor of ten around the best value of each."""
    ours = profile(frame, learner)
    theirs = [each for name in others if (each := profile(frame, name))]
    if ours is None:
        return []
    changes = corrected([change(each.learner, each.spread, ours.spread) for each in theirs])
    return [_steadier(ours, each, c, len(changes)) for each, c in zip(theirs, changes, strict=True)]


def _steadier(ours: Profile, theirs: Profile, c: Change, tests: int) -> Finding:
    column, decimals = ours.score.column, ours.score.decimals
    text = (
        f"Within a factor of ten of its best value, from the best to the worst: "
        f"{_of(ours)} {c.last:.{decimals}f}{points_of(column)}, "
        f"{_of(theirs)} {c.start:.{decimals}f}{points_of(column)}; {moved(c, column, tests)}"
    )
    apart = "" if c.falls or c.rises or not c.known else ": not apart"
    short = [each for each in (ours, theirs) if not each.reaches]
    limits = "".join(f"; {label(each.learner)} was not tried that far on both sides" for each in short)
    agrees = None if not c.known or (not ours.reaches and not c.rises) else c.falls
    return Finding(f"{text}{apart}{limits}.", agrees)


def _of(each: Profile) -> str:
    near = each.near
    return f"{label(each.learner)} ({each.key} {show(near[0])} to {show(near[-1])})"
