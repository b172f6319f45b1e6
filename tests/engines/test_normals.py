"""The online engine's normal numbers against scipy's distributions. Seeds are fixed: a test passes always or never.

An array `drawn [updates, columns]` has the numbers of one call in a row. A call of 640 takes two words of each of the
256 generators, and two more of the first 64.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cbp_experiments.engines.compiled.normals import LANES, draw_normals, new_generators

COLUMNS = 2 * LANES + 128
UPDATES = 20_000
BOUND = 5.6  # standard errors; a normal exceeds it with probability 2e-8, and there are 3 x 10^6 to look at


@cache
def drawn() -> np.ndarray:
    numbers, generators = np.empty((UPDATES, COLUMNS), np.float32), new_generators(np.random.default_rng(1))
    for row in numbers:
        draw_normals(row, generators)
    return numbers


def ranks(numbers: np.ndarray) -> np.ndarray:
    """Uniform in (0, 1) if the numbers are normal."""
    return stats.norm.cdf(numbers.astype(np.float64))


def test_moments() -> None:
    """The first four, of all numbers and of each column, to 4 and BOUND of their standard errors."""
    numbers = drawn().astype(np.float64)
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        powers = numbers**power
        assert abs(powers.mean() - expected) < 4 * (variance / numbers.size) ** 0.5
        assert abs(powers.mean(axis=0) - expected).max() < BOUND * (variance / UPDATES) ** 0.5


@pytest.mark.parametrize("half", [slice(COLUMNS // 2), slice(COLUMNS // 2, None)], ids=["sine", "cosine"])
def test_whole_distribution(half: slice) -> None:
    """Chi-square over 2,000 equally likely intervals, and Kolmogorov and Smirnov's distance."""
    numbers = drawn()[:, half].ravel()
    counts = np.bincount((ranks(numbers) * 2000).astype(int), minlength=2000)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.kstest(numbers[:1_000_000].astype(np.float64), "norm").pvalue > 1e-3


@pytest.mark.parametrize("sigma", [3, 3.5, 4, 4.5, 5])
@pytest.mark.parametrize("side", [-1, 1])
def test_tails(sigma: float, side: int) -> None:
    beyond, expected = np.count_nonzero(side * drawn() > sigma), stats.norm.sf(sigma) * drawn().size
    assert expected > 3
    assert stats.poisson.cdf(beyond, expected) > 1e-4
    assert stats.poisson.sf(beyond - 1, expected) > 1e-4


@pytest.mark.parametrize("of", ["numbers", "squares"])
@pytest.mark.parametrize("lag", [0, 1, 2])
def test_columns_and_updates_are_uncorrelated(of: str, lag: int) -> None:
    """Each column with each other one (other lanes, the same lane again, the two of a pair), and `lag` updates later.

    The squares would show two numbers that share a radius.
    """
    x = drawn() if of == "numbers" else (drawn() ** 2 - 1) / np.float32(2**0.5)
    correlation = x[: UPDATES - lag].T @ x[lag:] * (UPDATES - lag) ** -0.5
    if lag == 0:
        np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < BOUND * (1 if of == "numbers" else 1.2)  # products of squares have longer tails
    assert np.abs(np.mean(correlation**2) - 1) < 0.02


PAIRS: dict[str, tuple[Any, Any]] = {
    "of a pair": (np.s_[:, : COLUMNS // 2], np.s_[:, COLUMNS // 2 :]),
    "neighbours": (np.s_[:, 0:LANES:2], np.s_[:, 1:LANES:2]),
    "of a lane": (np.s_[:, :64], np.s_[:, LANES : LANES + 64]),
    "updates": (np.s_[:-1], np.s_[1:]),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_are_independent(pair: str) -> None:
    """Chi-square on the square of their ranks, in 50 x 50 equally likely fields."""
    x, y = (ranks(drawn()[part].ravel()[:4_000_000]) for part in PAIRS[pair])
    counts = np.bincount((x * 50).astype(int) * 50 + (y * 50).astype(int), minlength=2500)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_generators_are_xoshiro() -> None:
    """Two steps of xoshiro128 of each lane for one pair of it, in the notation of the paper."""
    generators = new_generators(np.random.default_rng(0))
    expected = generators.astype(object).reshape(4, LANES)
    draw_normals(np.empty(2 * LANES, np.float32), generators)
    for s in expected.T:
        for _ in range(2):
            t = s[1] << 9 & 0xFFFFFFFF
            s[2] ^= s[0]
            s[3] ^= s[1]
            s[1] ^= s[2]
            s[0] ^= s[3]
            s[2] ^= t
            s[3] = (s[3] << 11 | s[3] >> 21) & 0xFFFFFFFF
    np.testing.assert_array_equal(generators, expected.ravel().astype(np.uint32))


def test_fewer_lanes_leave_the_others_where_they_are() -> None:
    generators = new_generators(np.random.default_rng(0)).reshape(4, LANES)
    before = generators.copy()
    draw_normals(np.empty(16, np.float32), generators.ravel())
    moved = (generators != before).any(axis=0)
    assert moved[:8].all()
    assert not moved[8:].any()
