"""The rows of metrics.csv as text, and back."""

import re
from collections.abc import Sequence

import numpy as np

Row = dict[str, float]


def metrics_csv(rows: list[Row]) -> str:
    """Return the text of metrics.csv: columns as in the first row, floats with 8 significant digits, NaN as empty cell.

    Without rows (a run that diverged in its first task), return the header of the two columns that every run has.
    """
    plain = _plain_rows(rows)
    header = list(plain[0]) if plain else ["task", "examples"]
    lines = [header, *([_cell(value) for value in row.values()] for row in plain)]
    return "".join(",".join(line) + "\n" for line in lines)


def _plain_rows(rows: Sequence[Row]) -> list[Row]:
    """Convert the rows to Python's own int and float, so that they survive JSON unchanged."""
    if any(list(row) != list(rows[0]) for row in rows):
        raise ValueError("the rows of a run differ in their columns")
    integer = (int, np.integer)
    return [{key: int(v) if isinstance(v, integer) else float(v) for key, v in row.items()} for row in rows]


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "" if np.isnan(value) else f"{value:.8g}"


def value_of(cell: str) -> float:
    """Parse a cell that `_cell` wrote. Raises ValueError for text that `_cell` never writes."""
    if not cell:
        return np.nan
    value = int(cell) if re.fullmatch(r"0|-?[1-9]\d*", cell) else float(cell)
    if np.isnan(value):
        raise ValueError(f"{cell!r} is not a number")
    return value
