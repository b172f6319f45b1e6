"""Compares one setting with each other setting of its experiment, paired by seed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from cbp_experiments.analysis.statistics import Difference, holm, no_interval, paired
from cbp_experiments.analysis.tenths import aligned, scores_of_runs, setting_name, settings, show
from cbp_experiments.errors import ConfigError
from cbp_experiments.scores import ACCURACY, Score, score_of
from cbp_experiments.words import count

REFERENCE = "cbp"
MEASURES = {"average": "all tasks", "final": "last tenth"}  # columns of `scores_of_runs`


def comparisons(
    frame: pd.DataFrame, against: str | None = None, *, by: Sequence[str] | None = None, one_learner: bool = False
) -> pd.DataFrame:
    """Compute the differences in score between one setting and each other one; empty unless there are several learners.

    frame: as `results.load_experiment` returns it; scales are kept apart. against: the learner whose best setting is
    the reference; by default CBP or, without CBP, the learner of the best setting. The best setting has the best mean
    score over all tasks. by: the columns that distinguish settings; those of `tenths.settings` by default. one_learner:
    compare the settings of a learner that is the only one, too.

    Columns: measure ("all tasks" or "last tenth"); reference, a setting, and `of`, the number of settings of its
    learner, of which it is the best; the columns of `tenths.settings`, for the other setting; n, difference (reference
    minus other, in `Score.difference_unit`), low, high, p, above and below, as in `statistics.Difference`; p_holm, p
    with Holm's correction for all comparisons of the measure with this reference. Raises ConfigError if `against` has
    no complete run.
    """
    by, runs = list(by or settings(frame)), scores_of_runs(frame, by)
    learners = list(dict.fromkeys(runs["learner.name"]))
    if against not in (None, *learners):
        raise ConfigError(f"no complete runs of {against} to compare with; there are: {', '.join(learners) or 'none'}")
    score = score_of(frame.columns)
    scales = [part for _, part in runs.groupby("scale")] if "scale" in by else [runs]
    parts = [part for part in scales if one_learner or part["learner.name"].nunique() > 1]
    return pd.DataFrame([row for part in parts for row in _differences(part, runs, by, against, score)])


def _differences(
    part: pd.DataFrame, runs: pd.DataFrame, by: list[str], against: str | None, score: Score
) -> Iterator[dict[str, object]]:
    """Yield the rows of one scale. part: its runs; runs: those of all scales."""
    groups = [(key, group.set_index("seed")) for key, group in part.groupby(by, dropna=False)]
    groups.sort(key=lambda item: score.better_first(item[1]["average"].mean()))
    wanted = against or REFERENCE
    candidates = [item for item in groups if item[0][0] == wanted] or groups
    reference = key, ours = candidates[0]
    facts = {"reference": setting_name(runs, by, key), "of": sum(other[0] == key[0] for other, _ in groups)}
    others = [item for item in groups if item is not reference]
    for column, measure in MEASURES.items():
        found = [paired(ours[column], theirs[column]) for _, theirs in others]
        for (other, _), difference, p in zip(others, found, holm([each.p for each in found]), strict=True):
            yield {"measure": measure, **facts, **dict(zip(by, other, strict=True)), **_columns(difference, p)}


def _columns(found: Difference, adjusted: float) -> dict[str, object]:
    ends: dict[str, object] = {"n": found.n, "difference": found.mean, "low": found.low, "high": found.high}
    return ends | {"p": found.p, "p_holm": adjusted, "above": found.above, "below": found.below}


def comparisons_text(rows: pd.DataFrame, score: Score = ACCURACY) -> str:
    """Format `comparisons` as aligned text: a table for each reference, under a line that names it."""
    return "\n\n".join(_text(part, score) for _, part in rows.groupby("reference", sort=False))


def _text(rows: pd.DataFrame, score: Score) -> str:
    by = list(rows.columns[rows.columns.get_loc("of") + 1 : rows.columns.get_loc("n")])
    parts = [part.to_dict("records") for _, part in rows.groupby("measure", sort=False)]
    lines = [["learner", *(name.removeprefix("learner.") for name in by[1:]), "n"]]
    lines[0] += [title for measure in rows["measure"].unique() for title in (measure, "above", "p")]
    for of_measures in zip(*parts, strict=True):
        first = of_measures[0]
        cells = [cell for row in of_measures for cell in difference_cells(row, score.decimals)]
        lines.append([*(show(first[name]) for name in by), str(first["n"]), *cells])
    reference, of = rows[["reference", "of"]].iloc[0]
    tests = rows.loc[rows["measure"] == rows["measure"].iloc[0], "p"].count()
    of_score = " of ".join(filter(None, [score.difference_unit, score.words]))
    legend = [
        f"{reference} minus each other setting, paired by seed:",
        *aligned(lines),
        f"{of_score}; in brackets: 95 % t interval; above: seeds in which the difference is above 0",
        *([f"p: paired t test, Holm's correction for {count(tests, 'comparison')}"] if tests else []),
    ]
    if of > 1:
        legend += [f"{reference} was chosen from {count(of, 'setting')} by {score.words} over all tasks of these seeds"]
    return "\n".join(legend)


def difference_cells(row: Mapping[str, Any], decimals: int) -> list[str]:
    """Format a row of `comparisons`: the difference with its interval, the seeds in which it is above 0, p."""
    if not row["n"]:
        return ["-", "-", "-"]
    mean = f"{row['difference']:+.{decimals}f}"
    above = f"{row['above']} of {row['n']}"
    if pd.isna(row["low"]):
        return [f"{mean} ({no_interval(row['n'])})", above, "-"]
    between = f"[{row['low']:+.{decimals}f}, {row['high']:+.{decimals}f}]"
    return [f"{mean} {between}", above, f"{row['p_holm']:.2g}"]
