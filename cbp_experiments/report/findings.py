"""What the runs say about the paper's claims: sentences with 95 % t intervals over seeds, computed from frames.

A sentence says no more than its interval. If one learner is compared with several, two learners are apart only if
their p value is small after Holm's correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cbp_experiments.analysis.statistics import no_interval
from cbp_experiments.figures import style
from cbp_experiments.report.changes import Change, against, changes, last_by_seed
from cbp_experiments.scores import SCORES

KEPT = 1.0  # accuracy counts as kept if it loses less than this many percentage points
UNITS = {
    **{score.column: (score.words, f" {score.unit}".rstrip(), score.decimals) for score in SCORES.values()},
    "dead_units": ("dead units", " %", 2),
    "weight_magnitude": ("mean |weight|", "", 4),
    "effective_rank": ("effective rank", " %", 2),
}


@dataclass(frozen=True)
class Finding:
    """A sentence with its numbers. agrees: whether they show what the paper says; None: too few runs to say.

    claim: whether the paper says anything about it.
    """

    text: str
    agrees: bool | None
    claim: bool = True


def moves(frame: pd.DataFrame, metric: str, claim: str) -> list[Finding]:
    """Whether `metric` "falls" or "rises", as claimed, from the first tenth of the tasks to the last, per setting."""
    what = UNITS[metric][0]
    return [about(c, f"{what} {_from_to(c, metric)}: {verdict(c)}", getattr(c, claim)) for c in changes(frame, metric)]


def loses(frame: pd.DataFrame) -> list[Finding]:
    """Whether accuracy falls from its best twentieth of the tasks to the last tenth, per setting.

    A network that learns slowly still improves in the first tenth, so a comparison with that would hide its loss.
    """
    found = []
    for best, first in zip(changes(frame, "accuracy", "best"), changes(frame, "accuracy"), strict=True):
        text = (
            f"from {best.start:.2f} % in its best twentieth of the tasks to {best.last:.2f} % in the last tenth, "
            f"{moved(best, 'accuracy')}: {verdict(best)}. The first tenth: {first.start:.2f} %; to the last "
            f"{moved(first, 'accuracy')}"
        )
        found.append(about(best, text, best.falls))
    return found


def keeps(frame: pd.DataFrame, learner: str) -> list[Finding]:
    """Whether a learner's accuracy in the last tenth of the tasks is less than KEPT below that in the first."""
    found = []
    for c in changes(frame[frame["learner.name"] == learner], "accuracy"):
        kept, lost = c.difference.low > -KEPT, c.difference.high < -KEPT
        loss = "it loses less than" if kept else "it loses more than" if lost else "not told apart from a loss of"
        text = f"{loss} {KEPT:g} point" if c.known else verdict(c)
        found.append(about(c, f"accuracy {_from_to(c, 'accuracy')}: {text}", kept))
    return found


def compare(frame: pd.DataFrame, metric: str, learner: str, others: Sequence[str], claim: str) -> list[Finding]:
    """Whether a learner ends "above" or "below" each of the others, as claimed, in the last tenth of the tasks."""
    what, unit, decimals = UNITS[metric]
    found = []
    for c in against(frame, metric, learner, others):
        us, them = label(learner), label(c.name)
        if not c.seeds:
            found.append(Finding(f"{us} against {them}, {what}: no complete runs to compare.", None))
            continue
        where = "above" if c.rises else "below" if c.falls else "not apart from" if c.known else "next to"
        text = (
            f"{what} at the end: {us} {c.last:.{decimals}f}{unit}, {where} {them} with {c.start:.{decimals}f}{unit}; "
            f"{moved(c, metric, len(others))}{f' ({c.collapsed})' if c.collapsed else ''}."
        )
        agrees = c.rises if claim == "above" else c.falls
        found.append(Finding(text[0].upper() + text[1:], agrees if c.known else None))
    return found


def best_of(frame: pd.DataFrame, learner: str) -> list[Finding]:
    """The means of all learners in the last tenth of the tasks, and whether `learner` is above each other one."""
    names = [name for name in frame["learner.name"].unique() if len(last_by_seed(frame, name, "accuracy"))]
    means = {name: float(last_by_seed(frame, name, "accuracy").mean()) for name in names}
    order = sorted(means, key=lambda name: -means[name])
    text = ", ".join(f"{label(name)} {means[name]:.2f} %" for name in order)
    found = against(frame, "accuracy", learner, [name for name in order if name != learner])
    if learner not in means or not found:
        return [Finding(f"Mean accuracy at the end: {text or 'no complete runs'}.", None)]
    verdicts = [
        ("above", [c for c in found if c.rises]),
        ("below", [c for c in found if c.falls]),
        ("not apart from", [c for c in found if c.known and not c.rises and not c.falls]),
        ("too few seeds to say from", [c for c in found if not c.known]),
    ]
    said = [f"{where} {', '.join(map(_named, part))}" for where, part in verdicts if part]
    agrees = all(c.rises for c in found) if all(c.known for c in found) else None
    return [
        Finding(f"Mean accuracy at the end: {text}. {label(learner)} is {'; '.join(said)}{_tests(len(found))}.", agrees)
    ]


def label(learner: str) -> str:
    return style.LABELS.get(learner, learner)


def about(c: Change, text: str, agrees: bool) -> Finding:
    """Make a finding about one setting; `agrees` only counts if the change has an interval."""
    if not c.seeds:
        return Finding(f"{c.name}: no complete runs.", None)
    collapsed = f" ({c.collapsed})" if c.collapsed else ""
    return Finding(f"{c.name}: {text}{collapsed}.", agrees if c.known else None)


def _from_to(c: Change, metric: str) -> str:
    _, unit, decimals = UNITS[metric]
    return f"{c.start:.{decimals}f}{unit} → {c.last:.{decimals}f}{unit}, {moved(c, metric)}"


def moved(c: Change, metric: str, tests: int = 0) -> str:
    """Format a difference, its interval and how many seeds share its sign; with `tests`, p corrected for that many."""
    found = c.difference
    points = points_of(metric)
    if not c.known:
        return f"{spread(c, metric)}{points} ({no_interval(found.n)})"
    side = f"lower in {found.below}" if found.mean < 0 else f"higher in {found.above}"
    text = f"{spread(c, metric)}{points}, {side} of {found.n} seeds"
    return f"{text}, {p_value(c)}{_tests(tests)}" if tests else text


def points_of(metric: str) -> str:
    """Return the unit after a difference."""
    return " points" if UNITS[metric][1] else ""


def spread(c: Change, metric: str) -> str:
    """Format the difference and its interval, if there is one: "+0.12 [−1.10, +1.34]"."""
    found, decimals = c.difference, UNITS[metric][2]
    numbers = [f"{number:+.{decimals}f}".replace("-", "−") for number in (found.mean, found.low, found.high)]
    return f"{numbers[0]} [{numbers[1]}, {numbers[2]}]" if c.known else numbers[0]


def p_value(c: Change) -> str:
    return "p < 0.0001" if c.difference.p < 0.0001 else f"p = {c.difference.p:.2g}"


def _tests(tests: int) -> str:
    return f" (Holm, {tests} comparisons)" if tests > 1 else ""


def _named(c: Change) -> str:
    """Name the learner that another is compared with, and by how much they differ."""
    collapsed = f"; {c.collapsed}" if c.collapsed else ""
    return f"{label(c.name)} ({moved(c, 'accuracy', 1) if c.seeds else 'no seed in common'}{collapsed})"


def verdict(c: Change) -> str:
    if not c.known:
        return "too few runs to say"
    return "it falls" if c.falls else "it rises" if c.rises else "not apart"
