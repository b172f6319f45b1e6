"""All methods of an experiment in one table, with 95 % intervals."""

from dataclasses import dataclass

import pandas as pd

from cbp_experiments.figures import style
from cbp_experiments.report.findings import UNITS
from cbp_experiments.summarize import accuracies, interval
from cbp_experiments.summary import ends, settings, show

WITHIN = ("dead_units", "weight_magnitude", "effective_rank")


@dataclass(frozen=True)
class Cell:
    """A mean, its interval (empty with one run), and whether it is the best of its column."""

    mean: str
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A setting: its name and colour, the number of complete runs, a cell for each column of COLUMNS."""

    name: str
    colour: str
    seeds: int
    cells: list[Cell]


COLUMNS = (
    "Accuracy, first tenth (%)",
    "Accuracy, all tasks (%)",
    "Accuracy, last tenth (%)",
    "Dead units (%)",
    "Mean |weight|",
    "Effective rank (%)",
)


def methods(frame: pd.DataFrame) -> list[Row]:
    """A row a setting, by accuracy over the last tenth of the tasks; the last three columns are of that tenth, too.

    Means over the complete runs, with 95 % percentile bootstrap intervals over seeds.
    """
    by = settings(frame)
    numbers = accuracies(frame)
    if numbers.empty:
        return []
    numbers = numbers.sort_values("final", ascending=False, ignore_index=True)
    runs = {metric: ends(frame, metric) for metric in ("accuracy", *WITHIN)}
    rows = []
    for place, row in numbers.iterrows():
        first = _of(runs["accuracy"], by, row)["first"]
        later = [_of(runs[metric], by, row)["last"] for metric in WITHIN]
        cells = [
            _cell(first, 2),
            *(_given(row, name, best=name == "final" and place == 0) for name in ("average", "final")),
            *(_cell(values, UNITS[metric][2]) for metric, values in zip(WITHIN, later, strict=True)),
        ]
        learner = row["learner.name"]
        values = [
            f"{style.words(column)} {show(row[column])}" for column in by[1:] if _differs(numbers, column, learner)
        ]
        name = ", ".join([style.LABELS.get(learner, learner), *values])
        rows.append(Row(name, style.colour(learner), int(row["seeds"]), cells))
    return rows


def _differs(numbers: pd.DataFrame, column: str, learner: str) -> bool:
    return bool(numbers.loc[numbers["learner.name"] == learner, column].nunique(dropna=False) > 1)


def _of(runs: pd.DataFrame, by: list[str], row: pd.Series) -> pd.DataFrame:
    """The runs of the setting of `row`."""
    same = pd.Series(True, runs.index)
    for column in by:
        same &= runs[column].isna() if pd.isna(row[column]) else runs[column] == row[column]
    return runs[same]


def _cell(values: pd.Series, decimals: int) -> Cell:
    values = values.dropna()
    if values.empty:
        return Cell("–")
    low, high = interval(values.to_numpy(float))
    return _shown(float(values.mean()), low, high, decimals)


def _given(row: pd.Series, name: str, best: bool) -> Cell:
    return _shown(row[name], row[f"{name}_low"], row[f"{name}_high"], 2, best)


def _shown(mean: float, low: float, high: float, decimals: int, best: bool = False) -> Cell:
    within = "" if pd.isna(low) else f"{low:.{decimals}f} to {high:.{decimals}f}"
    return Cell(f"{mean:.{decimals}f}", within, best)
