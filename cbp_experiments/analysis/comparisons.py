"""How far one setting lies above each other one of its experiment, paired by seed."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from cbp_experiments.analysis.statistics import Difference, holm, no_interval, paired
from cbp_experiments.analysis.tenths import accuracies_of_runs, aligned, setting_name, settings, show
from cbp_experiments.errors import ConfigError
from cbp_experiments.words import count

REFERENCE = "cbp"
MEASURES = {"average": "all tasks", "final": "last tenth"}  # columns of `accuracies_of_runs`


def comparisons(frame: pd.DataFrame, against: str | None = None) -> pd.DataFrame:
    """Differences in accuracy of one setting to each other one; empty where there are not several learners.

    frame: as `results.load_experiment` returns it; scales are kept apart. against: the learner whose best setting is
    the reference; by default CBP's, or, where there is none, the best of all. The best has the highest mean accuracy
    over all tasks.

    Columns: measure ("all tasks" or "last tenth"); reference, a setting, and `of`, how many of its learner it is the
    best of; those of `summary.settings`, for the other setting; n, difference (reference minus other, percentage
    points), low and high, p, above and below, as `statistics.Difference` has them; p_holm, with Holm's correction for
    all comparisons of the measure with this reference. Raises ConfigError when `against` has no complete run.
    """
    by, runs = settings(frame), accuracies_of_runs(frame)
    learners = list(dict.fromkeys(runs["learner.name"]))
    if against not in (None, *learners):
        raise ConfigError(f"no complete runs of {against} to compare with; there are: {', '.join(learners) or 'none'}")
    scales = [part for _, part in runs.groupby("scale")] if "scale" in by else [runs]
    parts = [part for part in scales if part["learner.name"].nunique() > 1]
    return pd.DataFrame([row for part in parts for row in _differences(part, runs, by, against)])


def _differences(
    part: pd.DataFrame, runs: pd.DataFrame, by: list[str], against: str | None
) -> Iterator[dict[str, object]]:
    """The rows of one scale, which is a part of all runs."""
    groups = [(key, group.set_index("seed")) for key, group in part.groupby(by, dropna=False)]
    groups.sort(key=lambda item: -item[1]["average"].mean())
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


def comparisons_text(rows: pd.DataFrame) -> str:
    """`comparisons` as aligned text: a table for each reference, under a line that names it."""
    return "\n\n".join(_text(part) for _, part in rows.groupby("reference", sort=False))


def _text(rows: pd.DataFrame) -> str:
    by = list(rows.columns[rows.columns.get_loc("of") + 1 : rows.columns.get_loc("n")])
    parts = [part.to_dict("records") for _, part in rows.groupby("measure", sort=False)]
    lines = [["learner", *(name.removeprefix("learner.") for name in by[1:]), "n"]]
    lines[0] += [title for measure in rows["measure"].unique() for title in (measure, "above", "p")]
    for of_measures in zip(*parts, strict=True):
        first = of_measures[0]
        cells = [cell for row in of_measures for cell in _cells(row)]
        lines.append([*(show(first[name]) for name in by), str(first["n"]), *cells])
    reference, of = rows[["reference", "of"]].iloc[0]
    tests = rows.loc[rows["measure"] == rows["measure"].iloc[0], "p"].count()
    legend = [
        f"{reference} minus each other setting, paired by seed:",
        *aligned(lines),
        "percentage points of accuracy; in brackets: 95 % t interval; above: seeds in which the difference is",
        *([f"p: paired t test, Holm's correction for {count(tests, 'comparison')}"] if tests else []),
    ]
    if of > 1:
        legend += [f"{reference} was chosen from {count(of, 'setting')} by accuracy over all tasks of these seeds"]
    return "\n".join(legend)


def _cells(row: dict[str, Any]) -> list[str]:
    if not row["n"]:
        return ["-", "-", "-"]
    mean = f"{row['difference']:+.2f}"
    above = f"{row['above']} of {row['n']}"
    if pd.isna(row["low"]):
        return [f"{mean} ({no_interval(row['n'])})", above, "-"]
    between = f"[{row['low']:+.2f}, {row['high']:+.2f}]"
    return [f"{mean} {between}", above, f"{row['p_holm']:.2g}"]
