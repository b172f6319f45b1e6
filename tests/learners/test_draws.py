"""The draws of a learner: the words of SplitMix64 wherever they are made, and numbers of the right distribution."""

import numpy as np
import pytest
import torch
from scipy import stats

from cbp_experiments.learners.draws import Draws
from cbp_experiments.seeding import GOLDEN, mixed, task_key
from tests import drawing

KEYS = [task_key(seed, 5) for seed in range(3)]
MANY = 2**18
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def draws(updates: int = 1, keys: list[int] = KEYS, device: str = "cpu") -> Draws:
    made = Draws(len(keys), torch.device(device))
    made.begin_task(keys)
    for _ in range(updates):
        made.next_update()
    return made


def test_the_output_function_is_that_of_the_published_generator() -> None:
    """The first words of SplitMix64 seeded with 1234567, as its authors' implementation prints them."""
    words = [mixed(1234567 + i * GOLDEN) for i in range(1, 4)]
    assert words == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("device", DEVICES)
def test_words_are_those_of_the_keys(device: str) -> None:
    """Of (key of the run and task, update, purpose, index), on every device; those of a run do not see the others."""
    for updates in (1, 7):
        made = draws(updates, device=device)
        for purpose, index in (("replacement", 0), ("replacement", 3), ("dropout", 0)):
            words = made.words(purpose, index, 20).cpu().numpy().view(np.uint64)
            expected = [drawing.words(key, updates, purpose, index, 20) for key in KEYS]
            assert words.tolist() == expected
            uniform = made.uniform(purpose, index, (4, 5)).cpu().numpy()
            ours = [drawing.uniform(key, updates, purpose, index, 20).reshape(4, 5) for key in KEYS]
            np.testing.assert_array_equal(uniform, ours)
            below = made.bernoulli(purpose, index, (4, 5), 0.3).cpu().numpy()
            np.testing.assert_array_equal(below, np.array(ours) < 0.3)


def test_a_task_that_continues_draws_what_it_would_have_drawn() -> None:
    resumed = draws()
    resumed.begin_task(KEYS, updates=6)
    resumed.next_update()
    assert resumed.words("noise", 0, 9).tolist() == draws(7).words("noise", 0, 9).tolist()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_are_normal(dtype: torch.dtype, device: str) -> None:
    """Moments within 5 standard errors; Kolmogorov and Smirnov; tails to 4 sigma; pairs and updates independent."""
    normals = draws(device=device).normal("noise", 0, (MANY,), dtype).double().cpu().numpy()
    assert normals.dtype == np.float64
    for x in normals:
        errors = np.sqrt(np.array([1, 2, 15, 96]) / MANY)  # of the means of z, z^2, z^3 and z^4
        moments = np.array([np.mean(x**k) for k in range(1, 5)])
        assert (np.abs(moments - [0, 1, 0, 3]) < 5 * errors).all()
        assert stats.kstest(x, "norm").pvalue > 1e-4
        for sigmas in (2, 3, 4):
            expected = 2 * MANY * stats.norm.sf(sigmas)
            assert abs(np.sum(np.abs(x) > sigmas) - expected) < 5 * np.sqrt(expected) + 1
    later = draws(2, device=device).normal("noise", 0, (MANY,), dtype).double().cpu().numpy()
    other = draws(device=device).normal("noise", 1, (MANY,), dtype).double().cpu().numpy()
    pair = normals[0][: MANY // 2], normals[0][MANY // 2 :]  # the two of one word
    pairs = [pair, (normals[0], normals[1]), (normals[0], later[0]), (normals[0], other[0])]
    for a, b in [*pairs, (normals[0][:-1], normals[0][1:])]:
        for power in (1, 2):
            assert abs(stats.pearsonr(a**power, b**power).statistic) < 5 / np.sqrt(len(a))


def test_an_odd_number_of_normals() -> None:
    assert draws().normal("noise", 0, (3, 5), torch.float32).shape == (3, 3, 5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_normal_numbers_agree_between_devices() -> None:
    """To the rounding of log, cos and sin: some units of float32's at |z| < 7."""
    ours, theirs = (draws(device=device).normal("noise", 0, (MANY,), torch.float32).cpu() for device in ("cpu", "cuda"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
