"""Intervals of means over seeds and of differences paired by seed; runs that end at chance.

scipy.stats and statsmodels are slow to import and not every table needs them, so each is imported where it is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

CONFIDENCE = 0.95
SIGNIFICANT = 1 - CONFIDENCE  # p values below it
ABOVE_CHANCE = 2.0  # percentage points: a run that ends no further above chance has collapsed
_ROUNDING = 64 * np.finfo(float).eps  # relative to the values: smaller differences count as 0


class Interval(NamedTuple):
    """A mean over n seeds and the ends of its 95 % interval, which are NaN if n is below 2."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """The mean of n differences paired by seed, and its 95 % interval.

    p: of the two-sided t test against 0, or that p after `holm`. above, below: how many seeds lie on each side of 0.
    low, high and p are NaN if n is below 2, and if there are two equal differences that are not 0: they may be equal by
    chance, but a t test would be certain. Otherwise, if all differences are equal, low and high are the mean, and p is
    0, or 1 for a mean of 0.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    above: int
    below: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not np.isnan(self.low)


def no_interval(n: int) -> str:
    """Say why a difference over n seeds has no interval."""
    return f"{'one seed' if n < 2 else 'both seeds differ by the same'}, no interval"


def t_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Compute Student's t interval of the mean of each row over its columns (seeds), without empty cells.

    Columns: mean, low, high, n; low and high are NaN if n is below 2.
    """
    from scipy.stats import t

    n = table.count(axis=1)
    mean = table.mean(axis=1)
    half = t.ppf((1 + CONFIDENCE) / 2, n.where(n > 1) - 1) * table.sem(axis=1)
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "n": n})


def t_interval(values: Sequence[float] | np.ndarray | pd.Series) -> Interval:
    """Compute Student's t interval of the mean of `values [seeds]`, without NaN."""
    row = t_intervals(pd.DataFrame([np.asarray(values, float)])).iloc[0]
    return Interval(float(row["mean"]), float(row["low"]), float(row["high"]), int(row["n"]))


def paired(ours: pd.Series, theirs: pd.Series) -> Difference:
    """Compare two series indexed by seed with the paired t test; differences are `ours` minus `theirs`.

    Seeds that only one of them has, or for which one of them is NaN, do not count.
    """
    from scipy.stats import ttest_rel

    both = pd.concat([ours, theirs], axis=1, join="inner", keys=["ours", "theirs"]).astype(float).dropna()
    n = len(both)
    if not n:
        return Difference(np.nan, np.nan, np.nan, np.nan, 0, 0, 0)
    rounding = _ROUNDING * float(both.abs().to_numpy().max())
    found = (both["ours"] - both["theirs"]).to_numpy()
    differences = np.where(np.abs(found) <= rounding, 0.0, found)
    mean, above, below = float(differences.mean()), int((differences > 0).sum()), int((differences < 0).sum())
    same = np.ptp(differences) <= rounding
    if n < 2 or (n == 2 and same and mean):
        return Difference(mean, np.nan, np.nan, np.nan, n, above, below)
    if same:
        return Difference(mean, mean, mean, 0.0 if mean else 1.0, n, above, below)
    test = ttest_rel(both["ours"], both["theirs"])
    low, high = test.confidence_interval(CONFIDENCE)
    return Difference(mean, float(low), float(high), float(test.pvalue), n, above, below)


def holm(p_values: Sequence[float]) -> list[float]:
    """Apply Holm's correction (1979) to p values, in their order. NaN stays NaN and does not count as a test."""
    from statsmodels.stats.multitest import multipletests

    adjusted = np.array(p_values, float)
    tests = ~np.isnan(adjusted)
    if tests.any():
        adjusted[tests] = multipletests(adjusted[tests], method="holm")[1]
    return adjusted.tolist()


def at_chance(accuracy: pd.Series, classes: pd.Series) -> pd.Series:
    """Whether each accuracy (percent) is at most `ABOVE_CHANCE` points above chance, which is 100 / classes.

    False if the number of classes is unknown or 0.
    """
    known = pd.to_numeric(classes, errors="coerce")
    return accuracy <= 100 / known.where(known > 0) + ABOVE_CHANCE
