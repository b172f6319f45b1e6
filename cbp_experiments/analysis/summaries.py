"""Summarizes an experiment as CSVs: means over bins of tasks, scores with t intervals, and paired comparisons."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cbp_experiments.analysis.comparisons import comparisons, comparisons_text
from cbp_experiments.analysis.evidence import listed, missing_runs
from cbp_experiments.analysis.statistics import t_interval
from cbp_experiments.analysis.tenths import (
    aligned,
    collapsed_lines,
    left_out,
    mixed,
    scores_of_runs,
    settings,
    show,
)
from cbp_experiments.errors import ConfigError
from cbp_experiments.output import guarded
from cbp_experiments.results import locked, read_experiment, run_folders, write_atomically
from cbp_experiments.scores import Score, score_of

BINS = 40  # at most, of a run's tasks


def tidy(frame: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Average every metric of the complete runs over bins of equally many tasks: a row per setting, bin and metric.

    frame: as `results.load_experiment` returns it. Columns: those of `tenths.settings`; first_task and last_task of
    the bin; metric; mean over runs of each run's mean in the bin (without empty cells), its standard_error (NaN with
    one run), and n, the number of runs with a value.
    """
    by = settings(frame)
    complete = frame[frame["status"] == "complete"]
    metrics = [name for name in frame.columns[: frame.columns.get_loc("run")] if name not in ("task", "examples")]
    tasks = complete.groupby(by, dropna=False)["task"].transform("max")
    size = -(-tasks // bins)
    place = (complete["task"] - 1) // size
    edges = {"first_task": place * size + 1, "last_task": np.minimum((place + 1) * size, tasks)}
    of_runs = complete.assign(**edges).groupby([*by, *edges, "run"], dropna=False)[metrics].mean()
    long = of_runs.melt(var_name="metric", ignore_index=False).reset_index()
    long["metric"] = pd.Categorical(long["metric"], metrics)  # in their own order
    groups = long.groupby([*by, *edges, "metric"], dropna=False, observed=True)["value"]
    return pd.DataFrame({"mean": groups.mean(), "standard_error": groups.sem(), "n": groups.count()}).reset_index()


def scores(frame: pd.DataFrame, by: Sequence[str] | None = None) -> pd.DataFrame:
    """Compute the score over all tasks (average) and over their last tenth (final): one row per setting.

    Columns: those of `tenths.settings`; seeds, the number of complete runs, and collapsed, how many of them ended at
    chance; average and final, means over all complete runs, with the ends of their 95 % t intervals in <column>_low
    and _high (NaN with one run).
    """
    by = list(by or settings(frame))
    rows = []
    for key, group in scores_of_runs(frame, by).groupby(by, dropna=False):
        row = dict(zip(by, key, strict=True)) | {"seeds": len(group), "collapsed": int(group["collapsed"].sum())}
        for name in ("average", "final"):
            found = t_interval(group[name])
            row |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)


def table(frame: pd.DataFrame) -> str:
    """Format `scores` as aligned text; the last lines explain it, and name runs that collapsed or are left out."""
    by, score = settings(frame), score_of(frame.columns)
    titles = [f"{name} {score.unit}".strip() for name in ("average", "final")]
    lines = [["learner", *(name.removeprefix("learner.") for name in by[1:]), "seeds", *titles]]
    for row in scores(frame).to_dict("records"):
        numbers = [interval(row, name, score) for name in ("average", "final")]
        lines.append([*(show(row[name]) for name in by), str(row["seeds"]), *numbers])
    legend = f"{score.words} over all tasks and over the last tenth; in brackets: 95 % t interval over seeds"
    return "\n".join([*aligned(lines), legend, *collapsed_lines(frame), *left_out(frame), *mixed(frame)])


def interval(row: Mapping[str, Any], name: str, score: Score) -> str:
    """Format a mean of `scores` with its interval: "83.24 [83.14, 83.34]"; without one if there is one seed."""
    mean, low, high = (f"{row[key]:.{score.decimals}f}" for key in (name, f"{name}_low", f"{name}_high"))
    return f"{mean} [{low}, {high}]" if row["seeds"] > 1 else mean


@dataclass(frozen=True)
class Summary:
    """What was written: tables for the terminal, the files, and one line for each reason why folders were left out.

    missing: the planned runs that do not exist, as `evidence.listed` names them.
    """

    tables: list[str]
    paths: list[Path]
    left_out: list[str]
    missing: str


def write_summary(folder: Path, name: str | None = None, against: str | None = None) -> Summary:
    """Write summary.csv, accuracies.csv and, if there are several learners, comparisons.csv of the experiment.

    accuracies.csv is named after the score; for squared error, it is squared_errors.csv.

    against: the learner to compare the others with, as in `comparisons`. Holds a lock: if several processes finish at
    once, the last one reads all runs. Raises ConfigError if there are no runs (name: the experiment) or none of
    `against`, a file is damaged, or another process keeps the lock.
    """
    run_folders(folder, name)  # raises if there are none, before a lock is made
    with locked(folder, "summary.csv", "comparisons.csv", seconds=60.0):
        experiment = read_experiment(folder, name)
        frame, differences = experiment.frame, comparisons(experiment.frame, against)
        score = score_of(frame.columns)
        contents = {"summary.csv": tidy(frame), f"{score.plural}.csv": scores(frame)}
        if not differences.empty:
            contents["comparisons.csv"] = differences
        for file, rows in contents.items():
            path, content = folder / file, rows.to_csv(index=False, float_format="%.8g").encode()
            if not path.is_file() or path.read_bytes() != content:
                write_atomically(path, methodcaller("write", content))
    tables = [table(frame), *([] if differences.empty else [comparisons_text(differences, score)])]
    missing = listed(missing_runs(folder, frame))
    return Summary(tables, [folder / file for file in contents], experiment.left_out, missing)


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of scripts/summarize.py. Returns the exit code: 2 after a one-line error."""
    parser = argparse.ArgumentParser(
        prog="cbp-experiments summarize", description="Summarize the runs of an experiment."
    )
    parser.add_argument("experiment", help="such as permuted_mnist/methods")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="where the runs are (%(default)s)")
    parser.add_argument("--against", metavar="LEARNER", help="compare the others with this one (cbp, or else the best)")
    options = parser.parse_args(arguments)
    try:
        summary = write_summary(options.results_dir / options.experiment, options.experiment, options.against)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    missing = [f"missing: {summary.missing}"] if summary.missing else []
    print("\n\n".join(summary.tables), *missing, *summary.left_out, *summary.paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
