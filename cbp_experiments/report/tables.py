"""All methods of an experiment in one table, with 95 % t intervals."""

from dataclasses import dataclass, replace

import pandas as pd

from cbp_experiments.analysis.statistics import t_interval
from cbp_experiments.figures import style
from cbp_experiments.report.findings import UNITS
from cbp_experiments.summary import collapsed, ends

WITHIN = ("dead_units", "weight_magnitude", "effective_rank")


@dataclass(frozen=True)
class Cell:
    """A mean, its interval (empty with one run), and whether it is the best of its column."""

    mean: str
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A setting: its name and colour, the number of complete runs, how many collapsed, a cell a column of COLUMNS."""

    name: str
    colour: str
    seeds: int
    collapsed: str
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

    Means over the complete runs, collapsed ones included, with 95 % t intervals over seeds.
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
            row = Row(curve.name, style.colour(curve.learner), len(accuracy), collapsed(runs), cells)
            rows.append((float(accuracy["last"].mean()), row))
    rows.sort(key=lambda row: -row[0])
    if rows:
        best = rows[0][1].cells
        best[FINAL] = replace(best[FINAL], best=True)
    return [row for _, row in rows]


def _cell(values: pd.Series, decimals: int) -> Cell:
    found = t_interval(values)
    if not found.n:
        return Cell("–")
    within = f"{found.low:.{decimals}f} to {found.high:.{decimals}f}" if found.n > 1 else ""
    return Cell(f"{found.mean:.{decimals}f}", within)
