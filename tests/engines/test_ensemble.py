"""The ensemble engine: runs that do not feel each other, states that continue, runs that diverge."""

from dataclasses import replace
from itertools import accumulate, cycle
from typing import Any

import numpy as np
import pytest
import torch

from cbp_experiments.engines import Problem, base, choose_engine
from cbp_experiments.engines.ensemble import Ensemble, choose_device
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Learner
from cbp_experiments.networks import MLP
from tests.problems import BP, CBP, tiny_problem
from tests.recording import Recorded, RecordedEnsemble, RecordedRun, learn_all
from tests.rounding import losses_of, rank_error, sensitivity, tolerance

SEEDS = [4, 0, 7]
ADAM_CBP = replace(CBP, name="cbp_adam", optimizer="adam", step_size=0.003)
LEARNERS = [BP, replace(BP, name="bp_momentum", momentum=0.9), CBP, replace(CBP, name="cbp_momentum", momentum=0.9)]
LEARNERS += [replace(BP, name="adam", optimizer="adam", step_size=0.003), ADAM_CBP]
BATCHNORM = replace(CBP, name="batchnorm_cbp", normalization="batch", normalization_decay=0.9, momentum=0.9)
ONLINENORM = replace(CBP, name="onlinenorm_cbp", normalization="online")
LEARNERS += [BATCHNORM, ONLINENORM]
LEARNERS += [replace(CBP, name="snp_dropout", perturbation_std=1e-3, weight_decay=1e-3, dropout=0.1)]
each_learner = pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: learner.name)


def problem_of(learner: Learner, **keys: Any) -> Problem:
    """With mini-batches for batch normalization: of ten, because few examples make it change abruptly."""
    return tiny_problem(learner, batch_size=10 if learner.normalization == "batch" else 1, **keys)


def ignore(updates: int) -> None:
    """Progress that is not looked at."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("learner", [BP, CBP, ADAM_CBP, BATCHNORM, ONLINENORM], ids=lambda learner: learner.name)
def test_a_run_alone_equals_the_same_run_among_others(learner: Learner, dtype: str) -> None:
    """Over 300 updates, to the rounding that matrix products of another number of runs may do differently.

    Each of the two is off by rounding.tolerance at most, in float64 less than 1e-12, in float32 less than 1e-4.
    """
    problem = problem_of(learner, tasks=3, task_length=100, dtype=dtype)
    updates = 300 // problem.stream.batch_size
    among, alone = RecordedEnsemble(problem, SEEDS), RecordedEnsemble(problem, [SEEDS[1]])
    among_rows, alone_rows = learn_all(among), learn_all(alone)
    assert len(alone.losses()) == updates
    in_float64 = problem_of(learner, tasks=3, task_length=100)
    moved = sensitivity(lambda: RecordedEnsemble(in_float64, [SEEDS[1]]), losses_of)
    allowed = 2 * tolerance(moved, updates=updates, terms=problem.inputs, dtype=dtype)
    assert 0 < allowed < {"float64": 1e-12, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(among.losses(run=1), alone.losses(), rtol=0, atol=allowed)
    np.testing.assert_array_equal(among.events(run=1), alone.events())
    assert (len(alone.events()) > 0) == (learner.replacement_rate > 0)
    for [_, row, _], [expected] in zip(among_rows, alone_rows, strict=True):
        assert row is not None
        assert expected is not None
        for name, value in expected.items():
            relative = rank_error(problem.network.width, allowed) if "rank" in name else allowed
            assert row[name] == pytest.approx(value, rel=relative), name


@each_learner
def test_a_group_continues_from_its_state_bit_by_bit(learner: Learner) -> None:
    problem = problem_of(learner, tasks=3, dtype="float32")
    uninterrupted = RecordedEnsemble(problem, SEEDS)
    uninterrupted.run_task(0, ignore)
    uninterrupted.run_task(1, ignore)
    states = [uninterrupted.state(run) for run in range(len(SEEDS))]
    expected = uninterrupted.run_task(2, ignore)

    group = RecordedEnsemble(problem, SEEDS)
    for run, state in enumerate(states):
        group.load(run, state)
    assert group.run_task(2, ignore) == expected
    for run in range(len(SEEDS)):
        np.testing.assert_array_equal(group.losses(run), uninterrupted.losses(run)[80 // problem.stream.batch_size :])
        assert_same_state(group.state(run), uninterrupted.state(run))


@each_learner
def test_a_group_continues_from_within_a_task_bit_by_bit(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PIECE_SECONDS", 0)
    problem = problem_of(learner, tasks=2, dtype="float32")
    whole = Ensemble(problem, SEEDS)
    expected = [whole.run_task(task, ignore) for task in range(2)]

    group, pauses = Ensemble(problem, SEEDS), 0
    pause_now = cycle([True, False, False]).__next__
    for task in range(2):
        while not (rows := group.run_task(task, lambda updates: pause_now())):
            states, group = [group.state(run) for run in range(len(SEEDS))], Ensemble(problem, SEEDS)
            for run, state in enumerate(states):
                assert 0 < state["position"] < problem.stream.task_length
                group.load(run, state)
            pauses += 1
        assert rows == expected[task]
    assert pauses >= 2
    for run in range(len(SEEDS)):
        assert_same_state(group.state(run), whole.state(run))


def assert_same_state(state: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        assert state[name].dtype == array.dtype
        np.testing.assert_array_equal(state[name], array, err_msg=name)


def test_a_state_is_a_copy() -> None:
    group = Ensemble(tiny_problem(ADAM_CBP), [0])
    state = group.state(0)
    before = {name: array.copy() for name, array in state.items()}
    group.run_task(0, ignore)
    assert_same_state(state, before)
    assert any((group.state(0)[name] != array).any() for name, array in before.items())


def test_a_huge_step_size_diverges() -> None:
    group = Ensemble(tiny_problem(replace(CBP, step_size=1e30), dtype="float32"), SEEDS)
    assert learn_rows(group) == [[None] * 3] * 3


def learn_rows(group: Ensemble) -> list[Any]:
    return [group.run_task(task, ignore) for task in range(group.problem.stream.tasks)]


@pytest.mark.parametrize("scale", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("learner", [BP, CBP], ids=lambda learner: learner.name)
def test_the_others_go_on_when_a_run_diverges(learner: Learner, scale: float) -> None:
    """Its activations overflow, or their squares do: no metric may stumble, and the others keep every bit."""
    problem = tiny_problem(learner)
    expected = learn_rows(Ensemble(problem, SEEDS))
    group = Ensemble(problem, SEEDS)
    state = group.state(1)
    state["parameter_0"] *= scale
    state["parameter_4"] *= scale
    group.load(1, state)
    for rows, expected_rows in zip(learn_rows(group), expected, strict=True):
        assert [rows[0], rows[2]] == [expected_rows[0], expected_rows[2]]
        assert rows[1] is None


@pytest.mark.parametrize(
    ("batch_size", "task_length", "message"),
    [
        (1, 40, "batch normalization needs mini-batches: data.batch_size=... or learner=onlinenorm"),
        (8, 41, "cannot learn from one example, which data.batch_size=8 leaves over of data.task_length=41"),
    ],
)
def test_batch_normalization_refuses_single_examples(batch_size: int, task_length: int, message: str) -> None:
    learner = replace(BP, normalization="batch")
    with pytest.raises(ConfigError) as error:
        tiny_problem(learner, batch_size=batch_size, task_length=task_length)
    assert message in str(error.value)
    tiny_problem(learner, batch_size=8, task_length=42)


def test_online_normalization_takes_minibatches_too() -> None:
    group = RecordedEnsemble(tiny_problem(replace(CBP, normalization="online"), batch_size=8, task_length=41), SEEDS)
    learn_all(group)
    assert np.isfinite(group.losses()).all()
    assert len(group.losses()) == 3 * 6


@pytest.mark.parametrize("batch_size", [1, 8, 40])
def test_batches_are_averaged_and_progress_counts_the_updates_of_all_runs(batch_size: int) -> None:
    group = RecordedEnsemble(tiny_problem(BP, batch_size=batch_size), SEEDS)
    counts: list[int] = []
    rows = group.run_task(0, counts.append)
    assert sum(counts) == 40 // batch_size * len(SEEDS)
    for run, row in enumerate(rows):
        assert row is not None
        assert row["task"] == 1
        assert row["examples"] == 40
        assert row["loss"] == pytest.approx(group.losses(run).mean(), rel=1e-12)  # float64: the order of a sum of 40
        assert row["accuracy"] == 100 * (group.hits(run).sum() / 40)


def test_progress_is_reported_during_a_long_task(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(base, "PIECE_SECONDS", 0)
    Ensemble(tiny_problem(BP, task_length=5), [0]).run_task(0, counts.append)
    assert counts == [1, 1, 1, 1, 1]


def test_a_minibatch_of_one_is_the_online_engines_update() -> None:
    """And a larger one makes fewer updates of the mean gradient: by hand for one update of a linear learner."""
    problem = tiny_problem(BP, network=MLP(depth=0), batch_size=40, tasks=1)
    group = RecordedEnsemble(problem, [0])
    weight = group.kept()["weight"][0].copy()
    group.run_task(0, ignore)
    task = problem.stream.task(0, 0)
    x = problem.stream.images[task.order][:, task.permutation] / 255
    y = problem.stream.labels[task.order]
    scores = np.exp(x @ weight)
    error = scores / scores.sum(axis=1, keepdims=True) - np.eye(4)[y]
    # float64: sums of 40 terms, a few units in the last place
    np.testing.assert_allclose(group.kept()["weight"][0], weight - 0.05 * x.T @ error / 40, rtol=1e-12)


def test_no_gradient_outlives_its_update() -> None:
    """Else a task's graphs would pile up in memory."""
    group = Ensemble(tiny_problem(BP), [0])
    losses, right = group.step(torch.ones(1, 1, 20, dtype=torch.float64), torch.ones(1, 1, dtype=torch.int64))
    assert not losses.requires_grad
    assert not right.requires_grad


def test_unusable_device_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"engine\.device=abacus is not usable here"):
        choose_device("abacus")


@pytest.mark.parametrize("name", ["auto", "ensemble"])
def test_it_is_chosen_for_what_the_online_engine_cannot_do(name: str) -> None:
    problem = tiny_problem(BP, batch_size=8)
    engine = choose_engine(replace(problem, options=replace(problem.options, name=name)))
    assert engine.name == "ensemble"
    assert engine.together
    assert ("data.batch_size is 8" in engine.reason) == (name == "auto")


def test_accumulated_fractions_do_not_depend_on_the_dtype() -> None:
    """0.001 x 12 units is no float32 number; the sum that says when a unit goes is kept in float64 all the same."""
    learner = replace(CBP, replacement_rate=0.001, maturity_threshold=0)
    *_, due = accumulate([0.001 * 12] * 40)
    for dtype in ("float32", "float64"):
        groups: list[Recorded] = [RecordedEnsemble(tiny_problem(learner, dtype=dtype), [0])]
        groups.append(RecordedRun(tiny_problem(learner, dtype=dtype), 0))
        for group in groups:
            group.run_task(0, ignore)
            assert group.kept()["to_replace"][0].tolist() == [due, due]
