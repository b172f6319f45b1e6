"""All methods of an experiment in one table, with 95 % intervals."""

from dataclasses import dataclass, replace

import pandas as pd

from cbp_experiments.figures import style
from cbp_experiments.report.findings import UNITS
from cbp_experiments.summarize import interval
from cbp_experiments.summary import ends

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
FINAL = 2  # the column that ranks the rows


def methods(frame: pd.DataFrame) -> list[Row]:
    """A row a setting, by accuracy over the last tenth of the tasks; the last three columns are of that tenth, too.

    Means over the complete runs, with 95 % percentile bootstrap intervals over seeds.
    """
    rows = []
    for curve in style.curves(frame):
        runs = frame[frame["run"].isin(curve.rows["run"]) & (frame["status"] == "complete")]
        if len(runs):
            accuracy = ends(runs, "accuracy")
            average = runs.groupby("run")["accuracy"].mean()
            cells = [
                *(_cell(values, 2) for values in (accuracy["first"], average, accuracy["last"])),
                *(_cell(ends(runs, metric)["last"], UNITS[metric][2]) for metric in WITHIN),
            ]
            row = Row(curve.name, style.colour(curve.learner), len(accuracy), cells)
            rows.append((float(accuracy["last"].mean()), row))
    rows.sort(key=lambda row: -row[0])
    if rows:
        best = rows[0][1].cells
        best[FINAL] = replace(best[FINAL], best=True)
    return [row for _, row in rows]


def _cell(values: pd.Series, decimals: int) -> Cell:
    values = values.dropna()
    if values.empty:
        return Cell("–")
    low, high = interval(values.to_numpy(float))
    within = "" if pd.isna(low) else f"{low:.{decimals}f} to {high:.{decimals}f}"
    return Cell(f"{values.mean():.{decimals}f}", within)
