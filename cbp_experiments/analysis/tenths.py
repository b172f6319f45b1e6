"""The numbers of an experiment: first and last tenth of the tasks, per learner and setting.

A `frame` is what `results.load_experiment` returns: one row per run and task.
"""

from collections.abc import Sequence

import pandas as pd

from cbp_experiments.analysis.statistics import at_chance
from cbp_experiments.scores import ACCURACY, score_of
from cbp_experiments.words import count

# Columns that say how a run was made, not what it is.
_CIRCUMSTANCES = ("run", "status", "seed", "numbers", "classes", "data_description", "experiment", "scale")
_LATER = {  # column: its title and decimals in the table
    "dead_units": ("dead units %", 2),
    "weight_magnitude": ("mean |weight|", 4),
    "effective_rank": ("effective rank %", 2),
}
_LEGEND = "mean ± standard error over seeds; at first: first tenth of the tasks; all else: last tenth"


def settings(frame: pd.DataFrame) -> list[str]:
    """List the columns that distinguish settings: learner.name, scale if there are several, and config columns.

    The config columns are those in which runs of one learner differ (at one scale, since a scale sets many of them).
    """
    config = [name for name in frame.columns[frame.columns.get_loc("run") :] if name not in _CIRCUMSTANCES]
    runs = frame.drop_duplicates("run")
    first = ["learner.name", *(["scale"] if "scale" in runs and runs["scale"].nunique() > 1 else [])]
    differing = [name for name in config if name not in first and runs[name].nunique(dropna=False) > 1]
    distinct = runs.groupby(first)[differing].nunique(dropna=False)
    return [*first, *(name for name in differing if (distinct[name] > 1).any())]


def tenths(frame: pd.DataFrame) -> pd.DataFrame:
    """Compute means over the complete runs (seeds) and their standard errors: one row per setting.

    Columns: those of `settings`; `seeds`, the number of complete runs; score_first and score_last, the runs' score in
    the first and last max(1, tasks // 10) tasks; dead_units, weight_magnitude and effective_rank in those last tasks;
    each with its standard error in <column>_se (NaN with one seed). Empty cells are left out of every mean.
    """
    later, score = list(_LATER), score_of(frame.columns).column
    measured = frame.reindex(columns=list(dict.fromkeys([*frame.columns, score, *later])))
    complete = measured[frame["status"] == "complete"]
    first, last = first_and_last(complete)
    by = settings(frame)
    runs = complete.drop_duplicates("run").set_index("run")[by]
    runs["score_first"] = first.groupby("run")[score].mean()
    runs["score_last"] = last.groupby("run")[score].mean()
    runs[later] = last.groupby("run")[later].mean()
    groups = runs.groupby(by, dropna=False)
    columns = {"seeds": groups.size()}
    for name in ("score_first", "score_last", *later):
        columns[name] = groups[name].mean()
        columns[f"{name}_se"] = groups[name].sem()
    return pd.DataFrame(columns).reset_index()


def ends(frame: pd.DataFrame, metric: str, by: Sequence[str] | None = None) -> pd.DataFrame:
    """Average `metric` in the first and the last max(1, tasks // 10) tasks of each complete run: first, last.

    One row per run, indexed by its name; the columns `by` (those of `settings` by default) and `seed` come first. Empty
    cells are left out; NaN if there is no value.
    """
    complete = frame[frame["status"] == "complete"]
    runs = complete.drop_duplicates("run").set_index("run")[[*(by or settings(frame)), "seed"]]
    for name, part in zip(("first", "last"), first_and_last(complete), strict=True):
        runs[name] = part.groupby("run")[metric].mean() if metric in part else float("nan")
    return runs


def scores_of_runs(frame: pd.DataFrame, by: Sequence[str] | None = None) -> pd.DataFrame:
    """Compute each complete run's score over all tasks (average) and the last tenth (final), and whether it collapsed.

    One row per run, indexed by its name; the columns `by` (as in `ends`) and `seed` come first. collapsed: the run ends
    at chance (`analysis.statistics.at_chance`); False if the score is not accuracy or the number of classes is unknown.
    """
    complete = frame[frame["status"] == "complete"]
    score = score_of(frame.columns)
    runs = ends(frame, score.column, by).drop(columns="first").rename(columns={"last": "final"})
    runs["average"] = complete.groupby("run")[score.column].mean() if score.column in complete else float("nan")
    classes = complete.drop_duplicates("run").set_index("run").reindex(columns=["classes"])["classes"]
    runs["collapsed"] = at_chance(runs["final"], classes) if score == ACCURACY else False
    return runs


def first_and_last(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the first and of the last max(1, tasks // 10) tasks of each run."""
    tasks = rows.groupby("run")["task"].transform("max")
    tenth = (tasks // 10).clip(lower=1)
    return rows[rows["task"] <= tenth], rows[rows["task"] > tasks - tenth]


def table(frame: pd.DataFrame) -> str:
    """Format `tenths` as aligned text for the terminal, without a newline at its end.

    The last lines name runs that collapsed or are left out, and say if several versions of the numerics made the runs.
    """
    means, by, score = tenths(frame), settings(frame), score_of(frame.columns)
    of_score = {f"score_{end}": (f"{score.label} at {end}", score.decimals) for end in ("first", "last")}
    measures = of_score | _LATER
    titles = [title for title, _ in measures.values()]
    lines = [["learner", *(name.removeprefix("learner.") for name in by[1:]), "seeds", *titles]]
    for _, row in means.iterrows():
        numbers = [_number(row[name], row[f"{name}_se"], decimals) for name, (_, decimals) in measures.items()]
        lines.append([*(show(row[name]) for name in by), str(row["seeds"]), *numbers])
    return "\n".join([*aligned(lines), _LEGEND, *collapsed_lines(frame), *left_out(frame), *mixed(frame)])


def collapsed(rows: pd.DataFrame) -> str:
    """Count the complete runs in `rows` that ended at chance: "1 of 5 collapsed"; empty if none did."""
    fell = scores_of_runs(rows)["collapsed"]
    return f"{fell.sum()} of {len(fell)} collapsed" if fell.any() else ""


def collapsed_lines(frame: pd.DataFrame) -> list[str]:
    """Return a line that counts each setting's runs that ended at chance, with their seeds; no line if none did."""
    by, runs = settings(frame), scores_of_runs(frame)
    parts = []
    for key, group in runs.groupby(by, dropna=False):
        if seeds := group.loc[group["collapsed"], "seed"].tolist():
            where = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, sorted(seeds)))}"
            parts.append(f"{len(seeds)} of {len(group)} runs of {setting_name(runs, by, key)} ({where})")
    return [f"collapsed (at chance in the last tenth; part of the means): {'; '.join(parts)}"] if parts else []


def setting_name(runs: pd.DataFrame, by: Sequence[str], key: Sequence[object]) -> str:
    """Name a setting by what distinguishes it from the others of its learner: "cbp, replacement_rate=0.0001".

    runs: of all settings; by: the columns of `settings`; key: its values there.
    """
    peers = runs[runs["learner.name"] == key[0]]
    values = [(name, value) for name, value in zip(by, key, strict=True) if peers[name].nunique(dropna=False) > 1]
    return ", ".join([str(key[0]), *(f"{name.removeprefix('learner.')}={show(value)}" for name, value in values)])


def aligned(lines: list[list[str]]) -> list[str]:
    """Format the cells of a table as lines of text: the first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return ["  ".join([line[0].strip().ljust(widths[0]), *line[1:]]) for line in padded]


def show(value: object) -> str:
    """Format a config value as a reader would write it; a dash if a learner does not have it."""
    if pd.isna(value):
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def left_out(frame: pd.DataFrame) -> list[str]:
    """Return a line for each status of incomplete runs, with the names of the runs."""
    runs = frame[frame["status"] != "complete"].groupby("run").agg({"status": "first", "task": "max"})
    named = {
        status: ", ".join(f"{name} (at task {task})" for name, task in group["task"].items())
        for status, group in runs.groupby("status")
    }
    return [f"left out, {status}: {names}" for status, names in named.items()]


def mixed(frame: pd.DataFrame) -> list[str]:
    """Return a line if several versions of the numerics made the runs; else none."""
    versions = frame.drop_duplicates("run")["numbers"].value_counts().sort_index() if "numbers" in frame else {}
    parts = [f"{count(runs, 'run')} of version {version}" for version, runs in versions.items()]
    return [f"mixed versions of the numerics: {', '.join(parts)} (CHANGELOG.md says what moved)"] if parts[1:] else []


def _number(mean: float, error: float, decimals: int) -> str:
    if pd.isna(mean):
        return "-"
    return f"{mean:.{decimals}f}" if pd.isna(error) else f"{mean:.{decimals}f} ± {error:.{decimals}f}"
