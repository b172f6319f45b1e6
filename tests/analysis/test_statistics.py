"""Intervals, paired differences, Holm's correction and chance, against numbers computed by hand."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from cbp_experiments.analysis.statistics import Difference, at_chance, holm, paired, t_interval, t_intervals

T_2, T_1 = 4.302652729911275, 12.706204736432095  # the 97.5 % points of Student's t with 2 and with 1 degrees


def by_seed(*values: float, first: int = 0) -> pd.Series:
    return pd.Series(values, range(first, first + len(values)), dtype=float)


def test_the_interval_of_a_mean() -> None:
    mean, low, high, n = t_interval([80.0, 82.0, 84.0])  # deviation 2, over sqrt(3) seeds
    assert (mean, n) == (82.0, 3)
    assert (low, high) == pytest.approx((82 - T_2 * 2 / math.sqrt(3), 82 + T_2 * 2 / math.sqrt(3)))
    values = np.random.default_rng(0).normal(80, 3, 10)
    expected = ttest_1samp(values, 0).confidence_interval()
    assert t_interval(values)[1:3] == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_the_interval_without_variance_or_with_one_seed() -> None:
    assert t_interval([3.0, 3.0, 3.0]) == (3.0, 3.0, 3.0, 3)
    mean, low, high, n = t_interval([3.0, math.nan])
    assert (mean, n) == (3.0, 1)
    assert math.isnan(low)
    assert math.isnan(high)
    assert math.isnan(t_interval([]).mean)


def test_intervals_of_rows_leave_empty_cells_out() -> None:
    table = pd.DataFrame({"seed0": [1.0, 5.0, math.nan], "seed1": [3.0, math.nan, math.nan]}, index=[10, 20, 30])
    found = t_intervals(table)
    assert found.index.tolist() == [10, 20, 30]
    assert found["n"].tolist() == [2, 1, 0]
    assert found.loc[10].tolist() == pytest.approx([2.0, 2 - T_1, 2 + T_1, 2])
    assert found["low"].isna().tolist() == [False, True, True]


def test_a_difference_is_paired_by_seed() -> None:
    # Seeds 1, 2, 3 have both: 1, 2 and 6, of mean 3 and deviation sqrt(7).
    ours = by_seed(99.0, 71.0, 82.0, 96.0)
    theirs = by_seed(70.0, 80.0, 90.0, 50.0, first=1)
    found = paired(ours, theirs[::-1])
    half = T_2 * math.sqrt(7 / 3)
    assert (found.mean, found.n, found.above, found.below) == (3.0, 3, 3, 0)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))
    t = 3 / math.sqrt(7 / 3)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t))  # Student's t with 2 degrees has this tail
    assert found.known


def test_seeds_on_each_side_and_missing_values() -> None:
    found = paired(by_seed(1.0, 2.0, math.nan, 0.0, 5.0), by_seed(0.0, 3.0, 1.0, 0.0, 1.0))
    assert (found.n, found.above, found.below, found.mean) == (4, 2, 1, 1.0)


def test_one_seed_has_no_interval_and_none_nothing() -> None:
    one = paired(by_seed(3.0), by_seed(1.0, 5.0))
    assert (one.mean, one.n, one.above, one.below, one.known) == (2.0, 1, 1, 0, False)
    assert all(math.isnan(value) for value in (one.low, one.high, one.p))
    none = paired(by_seed(3.0), by_seed(1.0, first=7))
    assert (none.n, none.above, none.below, none.known) == (0, 0, 0, False)
    assert math.isnan(none.mean)


@pytest.mark.parametrize("lead", [0.0, -10.0])
def test_differences_that_are_all_the_same(lead: float) -> None:
    theirs = by_seed(80.1, 81.3, 79.7)  # adding and subtracting 10 leaves the last bits different
    found = paired(theirs + lead, theirs)
    assert found.low == found.high == found.mean == pytest.approx(lead)
    assert found.p == (0.0 if lead else 1.0)
    assert (found.above, found.below) == (0, 3 if lead else 0)


def test_two_seeds_that_differ_by_the_same_have_no_interval() -> None:
    theirs = by_seed(80.1, 81.3)
    found = paired(theirs - 10.0, theirs)
    assert found.mean == pytest.approx(-10.0)
    assert (found.n, found.below, found.known) == (2, 2, False)
    assert all(math.isnan(value) for value in (found.low, found.high, found.p))
    assert paired(theirs, theirs).p == 1.0


def test_what_rounding_leaves_is_no_difference() -> None:
    theirs = by_seed(0.1, 0.7)
    found = paired(by_seed(0.1 + 1e-17, 0.1 * 7), theirs)
    assert found == Difference(0.0, 0.0, 0.0, 1.0, 2, 0, 0)


def test_holm_by_hand() -> None:
    # Sorted: 0.01 three times, 0.02 twice, then once; none below the one before it.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.03, 0.029]) == pytest.approx([0.058, 0.058])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.03]) == [0.03]
    assert holm([]) == []
    some = holm([math.nan, 0.01, 0.02])
    assert math.isnan(some[0])
    assert some[1:] == pytest.approx([0.02, 0.02])


def test_chance_is_by_the_number_of_classes() -> None:
    accuracy = pd.Series([52.0, 52.1, 12.0, 12.1, 1.0, 1.0, math.nan])
    classes = pd.Series([2, 2, 10, 10, None, 0, 2], dtype=object)
    assert at_chance(accuracy, classes).tolist() == [True, False, True, False, False, False, False]


def test_the_libraries_are_imported_when_they_are_used() -> None:
    code = (
        "import sys, cbp_experiments.analysis.statistics, cbp_experiments.analysis.tenths\n"
        "print(*sorted({'scipy.stats', 'statsmodels', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
