"""Chooses from the settings that were tried: the best on the tuning seeds, by the score over all tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cbp_experiments.analysis.statistics import Difference, paired
from cbp_experiments.results.tuned import FACTS, RUN
from cbp_experiments.scores import SCORES, Score, score_of

STEP_SIZE = "learner.step_size"
NOT_TRIED = (RUN, *FACTS, *SCORES, "learner.name", "chosen")  # columns that are not keys


@dataclass(frozen=True)
class Axis:
    """The x axis for a learner: `key`, its hyperparameter, or its step size if nothing else was tried.

    tied: keys whose values correspond one to one to those of `key`; others: the other keys that vary.
    """

    key: str
    tied: list[str]
    others: list[str]


@dataclass(frozen=True)
class Selection:
    """The best setting, and how it compares with the others.

    values: by key. score: over all tasks, mean over seeds. second: the next best setting, None if there is no other;
    lead: how much better the best is, paired by seed. at_edge: the keys whose value is the lowest or the highest tried,
    with the value to add. settings: how many were tried. out: the settings that cannot be chosen, because one of their
    runs diverged.
    """

    values: dict[str, Any]
    score: float
    second: dict[str, Any] | None
    lead: Difference | None
    at_edge: dict[str, float]
    settings: int
    out: list[dict[str, Any]]


def keys_of(table: pd.DataFrame) -> list[str]:
    """List the columns of the values tried, in a table from settings.csv or `evidence.load_tuning`."""
    return [name for name in table.columns if name not in NOT_TRIED]


def axis_of(table: pd.DataFrame) -> Axis:
    """Find the axis for the settings of one learner."""
    varied = [key for key in keys_of(table) if table[key].nunique() > 1]
    key = next((key for key in varied if key != STEP_SIZE), STEP_SIZE)
    rest = [other for other in varied if other != key]
    tied = [other for other in rest if _tied(table, key, other)]
    return Axis(key, tied, [other for other in rest if other not in tied])


def towards_one(values: Sequence[float]) -> bool:
    """Whether sorted values go towards 1, as decays do: such values are spaced by the ratios of 1 - value."""
    return len(values) > 0 and values[0] >= 0.5 and values[-1] < 1


def select(table: pd.DataFrame) -> Selection | None:
    """Choose the best setting in a table from settings.csv; None if no setting is complete.

    Of equal settings, the first in the table is chosen. A setting with a diverged run cannot be chosen.
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
    chosen = _values(values, best)
    return Selection(
        values=chosen,
        score=float(means[best]),
        second=_values(values, others[0]) if others else None,
        lead=_lead(by_seed[best], by_seed[others[0]], score) if others else None,
        at_edge={
            key: beyond
            for place, key in enumerate(keys)
            if not any(_tied(values, key, earlier) for earlier in keys[:place])
            and (beyond := next_value(values[key], chosen[key])) is not None
        },
        settings=len(values),
        out=[_values(values, setting) for setting in whole[~whole].index],
    )


def _lead(best: pd.Series, second: pd.Series, score: Score) -> Difference:
    return paired(best, second) if score.higher_is_better else paired(second, best)


def next_value(tried: pd.Series, chosen: Any) -> float | None:
    """Return the value to try next if `chosen` is at the edge of those tried; None if it is not, or is 0 or no number.

    Values are assumed to be spaced by ratios of at most 10; values that go towards 1 (decays), by ratios of 1 - value.
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
    """Whether the values of both keys correspond one to one, so that they share an edge."""
    pairs = values[[key, other]].drop_duplicates()
    return pairs[key].is_unique and pairs[other].is_unique


def _values(settings: pd.DataFrame, setting: int) -> dict[str, Any]:
    """Return the values of one setting, whole numbers as such: as a row of the frame they would be floats."""
    (row,) = settings.loc[[setting]].to_dict("records")
    return {str(key): value for key, value in row.items()}
