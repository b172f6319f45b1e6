"""The online engine's perturbation: the same distribution as noise on every weight at every update, and exact decay."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cbp_experiments.engines import arrays, online
from cbp_experiments.engines.compiled.magnitudes import Magnitudes
from cbp_experiments.engines.compiled.noise import NoiseArrays
from cbp_experiments.engines.compiled.replacing import ReplacementArrays
from cbp_experiments.networks import MLP
from tests.problems import BP, tiny_problem
from tests.recording import RecordedRun

SNP = replace(BP, name="snp", step_size=0.01, weight_decay=0.5, perturbation_std=1e-3)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_rows_that_nobody_reads_gather_the_noise_of_all_updates(weight_decay: float) -> None:
    """A pixel that is 0 in all images: its weights see decay and noise alone, k = 120 updates of both.

    Shrunk by g at an update, they end as g^k w + N(0, std^2 (1 - g^2k) / (1 - g^2)), in 12 x 40 weights a run and 20
    runs; the variance of n draws has the relative standard error sqrt(2 / n).
    """
    learner = replace(SNP, weight_decay=weight_decay)
    problem = tiny_problem(learner, network=MLP(40, 2), task_length=120, inputs=20)
    blind = np.arange(8, 20)
    problem.stream.images[:, blind] = 0
    k, g = 120, 1 - learner.step_size * weight_decay
    variance = learner.perturbation_std**2 * (k if g == 1 else (1 - g ** (2 * k)) / (1 - g**2))
    left = []
    for seed in range(20):
        run = RecordedRun(problem, seed)
        before = run.weights[0].copy()
        position = np.arange(20)
        run.learn(np.resize(np.arange(50), k), position, seed, lambda updates: None)
        left.append((run.weights[0] - g**k * before)[blind])
    noise = np.array(left)
    assert noise.mean() == pytest.approx(0, abs=4 * np.sqrt(variance / noise.size))
    assert noise.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / noise.size))
    assert stats.kstest((noise / np.sqrt(variance)).ravel(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weights_that_are_read_gather_as_much(optimizer: str) -> None:
    """With a step size of nearly 0 all that moves any weight or bias is noise, read or not, on every layer."""
    learner = replace(SNP, step_size=1e-12, weight_decay=0.0, optimizer=optimizer)
    problem = tiny_problem(learner, network=MLP(40, 2), task_length=200)
    run = RecordedRun(problem, 0)
    before = [weight.copy() for weight in run.weights]
    run.learn(np.resize(np.arange(50), 200), np.arange(20), 1, lambda updates: None)
    variance = 200 * learner.perturbation_std**2
    for layer, (weight, start) in enumerate(zip(run.weights, before, strict=True)):
        noise = np.concatenate([(weight - start).ravel(), run.network.biases[layer, : weight.shape[1]]])
        assert noise.mean() == pytest.approx(0, abs=4 * np.sqrt(variance / noise.size))
        assert noise.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / noise.size))


@pytest.mark.parametrize("normalization", ["none", "online"])
def test_noise_and_unit_replacement_together(normalization: str) -> None:
    """Weights of units that were not replaced gather the noise of 200 updates; the utilities see all of it.

    With utility=weight and decay 0 a unit's utility is its mean outgoing weight after the last update. (In the first
    layer units of the next one may have been replaced since.)
    """
    learner = replace(
        SNP, step_size=1e-12, weight_decay=0.0, replacement_rate=0.002, maturity_threshold=50, decay_rate=0.0,
        utility="weight", normalization=normalization,
    )  # fmt: skip
    run = RecordedRun(tiny_problem(learner, network=MLP(40, 2), task_length=200), 0)
    before = [weight.copy() for weight in run.weights]
    run.learn(np.resize(np.arange(50), 200), np.arange(20), 1, lambda updates: None)
    replacement, magnitudes = run.part(ReplacementArrays), run.part(Magnitudes)
    assert replacement.replaced[0] > 20
    old = [np.ones(20, bool), *(age[:40] == 200 for age in replacement.age), np.ones(4, bool)]
    assert all(old_units.sum() > 5 for old_units in old[1:3])
    kept = [np.ix_(old[layer], old[layer + 1]) for layer in range(3)]
    noise = np.concatenate([(w - b)[k].ravel() for w, b, k in zip(run.weights, before, kept, strict=True)])
    variance = 200 * learner.perturbation_std**2
    assert noise.mean() == pytest.approx(0, abs=4 * np.sqrt(variance / noise.size))
    assert noise.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / noise.size))
    for layer in (1, 2):
        outgoing = np.abs(run.weights[layer]).sum(axis=1)
        np.testing.assert_allclose(magnitudes.outgoing[layer, :40], outgoing, rtol=1e-12)
    np.testing.assert_allclose(replacement.utility[1, :40][old[2]], outgoing[old[2]] / 4, rtol=1e-12)
    assert (run.network.gains != 1).sum() == (2 * 40 if normalization == "online" else 0)


def test_the_padding_stays_zero() -> None:
    problem = tiny_problem(SNP, network=MLP(5, 2))
    run = online.OnlineRun(problem, arrays.sparse_examples(problem), 0)
    run.run_task(0, lambda updates: None)
    in_use = sum(weight.size for weight in run.weights)
    assert np.count_nonzero(run.network.weights) == in_use


def test_noise_is_keyed_by_seed_and_task() -> None:
    problem = tiny_problem(SNP, dtype="float32")
    rows = [[online.OnlineRun(problem, arrays.sparse_examples(problem), seed).run_task(task, lambda updates: None)
             for task in (0, 1)] for seed in (0, 0, 1)]  # fmt: skip
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_nothing_is_owed_after_a_task() -> None:
    """A run that goes on from a checkpoint, whose totals are 0, draws what the uninterrupted one draws, to the bit."""
    problem = tiny_problem(SNP, task_length=300, dtype="float32")
    whole, resumed = (online.OnlineRun(problem, arrays.sparse_examples(problem), 0) for _ in range(2))
    whole.run_task(0, lambda updates: None)
    noise = whole.part(NoiseArrays)
    assert noise.variance[0] == 0
    assert not noise.settled.any()
    resumed.load(0, whole.state(0))
    assert whole.run_task(1, lambda updates: None) == resumed.run_task(1, lambda updates: None)
    np.testing.assert_array_equal(whole.network.weights, resumed.network.weights)
