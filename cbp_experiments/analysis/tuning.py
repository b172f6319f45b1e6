"""Which of the settings that were tried is chosen: the best on the tuning seeds, by the score over all tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cbp_experiments.analysis.statistics import Difference, paired
from cbp_experiments.results.tuned import FACTS, RUN
from cbp_experiments.scores import SCORES, Score, score_of

STEP_SIZE = "learner.step_size"
NOT_TRIED = (RUN, *FACTS, *SCORES, "learner.name", "chosen")  # columns that are no keys


@dataclass(frozen=True)
class Axis:
    """What a learner is drawn over: `key`, its hyperparameter, or its step size where that is all that was tried.

    tied: the keys each value of which goes with one value of it; others: the rest of those that vary.
    """

    key: str
    tied: list[str]
    others: list[str]


@dataclass(frozen=True)
class Selection:
    """The best setting, and what is to be known of it.

    values: by key. score: over all tasks, mean over seeds. second: the next best setting, None where there is no other;
    lead: how much better the best is than it, paired by seed. at_edge: the keys whose value is the lowest or the
    highest tried, with the value to add. out: the settings that cannot be chosen, since a run of theirs diverged.
    """

    values: dict[str, Any]
    score: float
    second: dict[str, Any] | None
    lead: Difference | None
    at_edge: dict[str, float]
    settings: int
    out: list[dict[str, Any]]


def keys_of(table: pd.DataFrame) -> list[str]:
    """The columns of a table of settings that were tried, as settings.csv or `evidence.load_tuning` has it."""
    return [name for name in table.columns if name not in NOT_TRIED]


def axis_of(table: pd.DataFrame) -> Axis:
    """The axis of the settings of one learner."""
    varied = [key for key in keys_of(table) if table[key].nunique() > 1]
    key = next((key for key in varied if key != STEP_SIZE), STEP_SIZE)
    rest = [other for other in varied if other != key]
    tied = [other for other in rest if _tied(table, key, other)]
    return Axis(key, tied, [other for other in rest if other not in tied])


def towards_one(values: Sequence[float]) -> bool:
    """Whether sorted values go towards 1, as decays do: they are spaced by the ratios of what they lack to it."""
    return len(values) > 0 and values[0] >= 0.5 and values[-1] < 1


def select(table: pd.DataFrame) -> Selection | None:
    """The best of the settings in a table as settings.csv has it; None where none is complete.

    Of equal ones the first in the table. A setting of which a run diverged cannot be chosen.
    """
    keys = keys_of(table)
    numbered = table.assign(setting=pd.factorize(table[RUN].str.rpartition("_seed")[0])[0])
    values = numbered.groupby("setting")[keys].first()
    score = score_of(table.columns)
    by_seed = numbered.pivot(index="seed", columns="setting", values=score.column)
    whole = numbered.groupby("setting")["status"].agg(lambda status: (status == "complete").all())
    means = by_seed.mean()[whole[whole].index]
    if means.empty:
        return None
    order = means.map(score.better_first).sort_values(kind="stable").index
    best, *others = order
    chosen = _plain(values.loc[best])
    return Selection(
        values=chosen,
        score=float(means[best]),
        second=_plain(values.loc[others[0]]) if others else None,
        lead=_lead(by_seed[best], by_seed[others[0]], score) if others else None,
        at_edge={
            key: beyond
            for place, key in enumerate(keys)
            if not any(_tied(values, key, earlier) for earlier in keys[:place])
            and (beyond := next_value(values[key], chosen[key])) is not None
        },
        settings=len(values),
        out=[_plain(values.loc[setting]) for setting in whole[~whole].index],
    )


def _lead(best: pd.Series, second: pd.Series, score: Score) -> Difference:
    return paired(best, second) if score.higher_is_better else paired(second, best)


def next_value(tried: pd.Series, chosen: Any) -> float | None:
    """The value to try next if `chosen` is at the edge of those tried; None if it is not, or is 0 or no number.

    Values are taken to be spaced by ratios, of 10 at most; those that go towards 1 (decays) by the ratios of what they
    lack to 1.
    """
    values = sorted({float(value) for value in tried if isinstance(value, int | float | np.number)})
    if len(values) < 2 or isinstance(chosen, str | bool) or chosen not in (values[0], values[-1]) or chosen <= 0:
        return None
    decays = towards_one(values)
    scale = [1 - value for value in values] if decays else values
    edge, inner = (scale[0], scale[1]) if chosen == values[0] else (scale[-1], scale[-2])
    if inner <= 0:
        return None
    beyond = float(f"{edge * min(max(edge / inner, 0.1), 10.0):.1g}")
    if pd.api.types.is_integer_dtype(tried):
        return round(beyond) if round(beyond) not in (0, chosen) else None
    return float(f"{1 - beyond:.12g}") if decays else beyond


def _tied(values: pd.DataFrame, key: str, other: str) -> bool:
    """Whether each value of one goes with one value of the other: it has no edge of its own."""
    pairs = values[[key, other]].drop_duplicates()
    return pairs[key].is_unique and pairs[other].is_unique


def _plain(setting: pd.Series) -> dict[str, Any]:
    return {str(key): value.item() if isinstance(value, np.generic) else value for key, value in setting.items()}
