"""Continual ImageNet on the ensemble: runs that do not feel each other, new heads, tests at the end of a task."""

from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
import torch

from cbp_experiments.engines import EngineOptions, Problem, choose_engine
from cbp_experiments.learners import Learner
from cbp_experiments.metrics.measurements import Measurements
from cbp_experiments.networks import MLP, Architecture, ConvNet
from cbp_experiments.streams.continual_imagenet import ClassPairs
from tests.problems import BP, CBP
from tests.recording import RecordedEnsemble, learn_all
from tests.rounding import losses_of, sensitivity, tolerance

SIDE = 24
EIGHT = [4, 0, 7, 1, 2, 3, 5, 6]
CONV_CBP = replace(CBP, momentum=0.9, step_size=0.01, replacement_rate=0.05, maturity_threshold=3)
BATCHNORM = replace(CONV_CBP, name="batchnorm_cbp", normalization="batch", normalization_decay=0.9)


def pairs(batch_size: int = 10, tasks: int = 3) -> ClassPairs:
    """Six classes of noise around a random image each; tasks of two epochs of 20 images."""
    rng = np.random.default_rng(0)
    means = rng.integers(40, 216, (6, 1, 3 * SIDE**2))
    images = np.clip(means + rng.integers(-40, 41, (6, 16, 3 * SIDE**2)), 0, 255).astype(np.uint8)
    return ClassPairs(images, tasks, task_length=40, batch_size=batch_size, train_images=10, test_images=6)


def problem_of(learner: Learner, dtype: str = "float64", network: Architecture | None = None) -> Problem:
    options = EngineOptions(device="cpu", dtype=dtype, workers=2)
    return Problem(pairs(), network or ConvNet(8), learner, Measurements(), options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("learner", [CONV_CBP, BATCHNORM], ids=lambda learner: learner.name)
def test_a_run_alone_equals_the_same_run_among_eight(learner: Learner, dtype: str) -> None:
    """Its losses, to the rounding of grouped convolutions: less than 1e-11 in float64, less than 1e-3 in float32."""
    among, alone = (RecordedEnsemble(problem_of(learner, dtype), seeds) for seeds in (EIGHT, EIGHT[2:3]))
    learn_all(among)
    learn_all(alone)
    moved = sensitivity(lambda: RecordedEnsemble(problem_of(learner), EIGHT[2:3]), losses_of)
    allowed = 2 * tolerance(moved, updates=12, terms=3 * SIDE**2, dtype=dtype)
    assert 0 < allowed < {"float64": 1e-11, "float32": 1e-3}[dtype]
    np.testing.assert_allclose(among.losses(run=2), alone.losses(), rtol=0, atol=allowed)
    np.testing.assert_array_equal(among.events(run=2), alone.events())
    assert len(alone.events()) > 0


def test_every_task_begins_with_a_head_of_zeros() -> None:
    """Both classes are as likely then: a loss of log 2, and of something else at the next update."""
    group = RecordedEnsemble(problem_of(CONV_CBP), EIGHT[:2])
    learn_all(group)
    for run in range(2):
        losses = group.losses(run)
        np.testing.assert_allclose(losses[::4], log(2), rtol=1e-15)
        assert (losses[1::4] != losses[::4]).all()


@pytest.mark.parametrize("network", [ConvNet(8), MLP(12, 1), MLP(depth=0)], ids=str)
def test_accuracy_is_that_of_the_test_images_at_the_end_of_the_task(network: Architecture) -> None:
    group = RecordedEnsemble(problem_of(BP, network=network), EIGHT[:2])
    for number, rows in enumerate(learn_all(group)[:1]):
        assert all(row is not None and list(row)[:5] == ["task", "examples", "accuracy", "train_accuracy", "loss"]
                   for row in rows)  # fmt: skip
        assert [row["examples"] for row in rows if row] == [40 * (number + 1)] * 2
    stream: Any = group.problem.stream
    stream.tasks = 4
    rows = group.run_task(3, lambda updates: None)
    for run, row in enumerate(rows):
        examples = group.problem.stream.task(EIGHT[run], 3).examples
        assert examples is not None
        x = torch.from_numpy(examples.images / 255).expand(2, -1, -1)
        with torch.no_grad():
            logits, _ = group.network.forward(x)
        right = logits[run].argmax(dim=1).numpy() == examples.labels
        assert row is not None
        assert row["accuracy"] == 100 * right[20:].mean()
        assert row["train_accuracy"] == 100 * right[:20].mean()


@pytest.mark.parametrize(
    "learner", [CONV_CBP, BATCHNORM, replace(BP, name="dropout", dropout=0.1)], ids=lambda x: x.name
)
def test_a_group_continues_from_its_state_bit_by_bit(learner: Learner) -> None:
    problem = problem_of(learner, "float32")
    uninterrupted = RecordedEnsemble(problem, EIGHT[:3])
    for task in (0, 1):
        uninterrupted.run_task(task, lambda updates: None)
    group = RecordedEnsemble(problem, EIGHT[:3])
    for run in range(3):
        group.load(run, uninterrupted.state(run))
    assert group.run_task(2, lambda updates: None) == uninterrupted.run_task(2, lambda updates: None)


def test_a_filter_is_dead_that_is_0_at_all_positions_of_all_examples() -> None:
    group = RecordedEnsemble(problem_of(BP), [0])
    with torch.no_grad():
        group.network.weights[1][0, 2] = 0
        group.network.biases[1][0, 2] = -1
    [row] = group.run_task(0, lambda updates: None)
    assert row is not None
    assert row["dead_units_2"] == 25
    assert 0 < row["effective_rank_2"] <= 75


def test_on_a_cpu_runs_of_the_convolutional_network_are_spread_over_the_cores() -> None:
    engine = choose_engine(problem_of(BP))
    assert (engine.name, engine.together, engine.workers, engine.threads) == ("ensemble", False, 2, 1)
    assert choose_engine(problem_of(BP, network=MLP(12, 1))).together


@pytest.mark.parametrize(
    ("network", "reason"),
    [(ConvNet(8), "fully connected networks only"), (MLP(12, 1), "the tasks have images of their own")],
)
def test_the_online_engine_leaves_it_to_the_ensemble(network: Architecture, reason: str) -> None:
    engine = choose_engine(replace(problem_of(BP, network=network), stream=pairs(batch_size=1)))
    assert engine.name == "ensemble"
    assert reason in engine.reason
