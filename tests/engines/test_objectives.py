"""What a stream asks for: regression beside classification, and tasks of different lengths, on both engines."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from cbp_experiments.engines import Problem, base, choose_engine
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.errors import ConfigError
from cbp_experiments.networks import MLP
from cbp_experiments.scores import SQUARED_ERROR
from cbp_experiments.streams import SQUARED, Objective, Task, examples_of, lengths, updates_of
from cbp_experiments.training import estimate as estimates
from tests.problems import BP, CBP, tiny_problem
from tests.recording import Recorded, RecordedEnsemble, RecordedRun, learn_all

ENGINES: dict[str, Any] = {
    "ensemble": lambda problem: RecordedEnsemble(problem, [0]),
    "online": lambda problem: RecordedRun(problem, 0),
}
each_engine = pytest.mark.parametrize("engine", ENGINES)
AGREEMENT = 1e-9  # as in test_equivalence.py


@dataclass(eq=False)
class Sums:
    """Targets are weighted sums of the inputs; the weights change with the task."""

    lengths: Sequence[int] = (40, 40)
    outputs: int = 1
    batch_size: int = 1

    scale: ClassVar[float] = 1.0
    checksum: ClassVar[str] = ""
    description: ClassVar[str] = "weighted sums"
    objective: ClassVar[Objective] = SQUARED

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.classes, self.tasks, self.task_length = self.outputs, len(self.lengths), max(self.lengths)
        self.images = rng.integers(0, 2, (200, 12)).astype(np.float64)
        weights = rng.normal(size=(self.tasks, 12, self.outputs))
        self.labels = np.concatenate([self.images[k :: self.tasks] @ weights[k] for k in range(self.tasks)])
        self.images = np.concatenate([self.images[k :: self.tasks] for k in range(self.tasks)])

    def task(self, seed: int, task: int) -> Task:
        first = task * (200 // self.tasks)
        return Task((np.arange(self.lengths[task]) + seed) % (200 // self.tasks) + first, permutation=None)

    def probe(self, seed: int, task: int) -> np.ndarray:
        return np.arange(10)

    def shortened(self, task_length: int) -> "Sums":
        return replace(self, lengths=[task_length] * self.tasks)


def problem_of(stream: Any, learner: Any = BP, **keys: Any) -> Problem:
    return replace(tiny_problem(learner, features=("dead_units",), **keys), stream=stream)


@each_engine
@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_by_hand(engine: str, outputs: int) -> None:
    """A linear learner: the loss is the mean over outputs of (y' - y)^2, its gradient 2 (y' - y) / outputs."""
    problem = problem_of(Sums((5, 3), outputs), network=MLP(depth=0))
    weight, bias, losses = problem.initial_weights(0)[0], np.zeros(outputs), []
    for task in range(2):
        for row in problem.stream.task(0, task).order:
            error = problem.stream.images[row] @ weight + bias - problem.stream.labels[row]
            losses.append((error**2).mean())
            weight = weight - 0.05 * np.outer(problem.stream.images[row], 2 * error / outputs)
            bias = bias - 0.05 * 2 * error / outputs
    group: Recorded = ENGINES[engine](problem)
    [[first], [second]] = learn_all(group)
    np.testing.assert_allclose(group.losses(), losses, rtol=1e-12)
    np.testing.assert_allclose(group.kept()["weight"][0], weight, rtol=1e-12)
    for row, task, examples, expected in ((first, 1, 5, losses[:5]), (second, 2, 8, losses[5:])):
        assert row is not None
        assert (row["task"], row["examples"]) == (task, examples)
        assert row["squared_error"] == row["loss"] == pytest.approx(np.mean(expected))
        assert "accuracy" not in row


@pytest.mark.parametrize(
    "learner",
    [
        pytest.param(CBP, id="cbp"),
        pytest.param(replace(CBP, optimizer="adam", step_size=0.003), id="adam", marks=pytest.mark.slow),
    ],
)
def test_engines_agree_on_regression(learner: Any) -> None:
    problem = problem_of(Sums((60, 60), outputs=2), replace(learner, weight_decay=1e-3))
    ensemble, online = (ENGINES[engine](problem) for engine in ("ensemble", "online"))
    rows, expected = learn_all(online), learn_all(ensemble)
    np.testing.assert_allclose(online.losses(), ensemble.losses(), rtol=AGREEMENT)
    assert rows[1][0] == pytest.approx(expected[1][0], rel=AGREEMENT, nan_ok=True)


def test_mini_batches_of_a_regression() -> None:
    group = Ensemble(problem_of(Sums((40, 40), batch_size=8)), [0, 1])
    [first, _] = group.run_task(0, lambda updates: None)
    assert first is not None
    assert first["squared_error"] == pytest.approx(first["loss"])


def test_targets_of_another_size_than_the_outputs_are_refused() -> None:
    stream: Any = Sums(outputs=3)
    stream.classes = 2
    with pytest.raises(ConfigError, match="the stream has 3 numbers a target, and the network 2 outputs"):
        problem_of(stream)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"objective": "squared"}, "the stream's objective must be CROSS_ENTROPY or SQUARED of .*, got 'squared'"),
        ({"lengths": (40,)}, r"the stream's lengths must be 2 numbers .* task_length=40, got 1 from 40 to 40"),
        ({"lengths": (40, 40, 40)}, "got 3 from 40 to 40"),
        ({"lengths": (40, 41)}, "got 2 from 40 to 41"),
        ({"lengths": (40, 0)}, "got 2 from 0 to 40"),
    ],
)
def test_what_a_stream_has_wrong_is_one_line(changed: dict[str, Any], message: str) -> None:
    stream: Any = Sums()
    vars(stream).update(changed)
    with pytest.raises(ConfigError, match=message):
        problem_of(stream)


def test_an_objective_that_no_engine_knows_is_refused() -> None:
    stream: Any = Sums()
    stream.objective = Objective("hinge", SQUARED_ERROR)
    with pytest.raises(ConfigError, match="no engine can do this: online: it does not know the objective hinge; ensem"):
        choose_engine(problem_of(stream))


# Tasks of different lengths.


def test_lengths_examples_and_updates() -> None:
    stream: Any = Sums((5, 30, 17), batch_size=4)
    assert list(lengths(stream)) == [5, 30, 17]
    assert [examples_of(stream, tasks) for tasks in range(4)] == [0, 5, 35, 52]
    assert [updates_of(stream, first) for first in range(4)] == [2 + 8 + 5, 8 + 5, 5, 0]
    even = tiny_problem(BP).stream
    assert list(lengths(even)) == [40, 40, 40]
    assert (examples_of(even, 2), updates_of(even, 1)) == (80, 80)


@each_engine
def test_a_run_over_tasks_of_different_lengths_continues_from_within_any(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problem_of(Sums((5, 30, 17)), CBP)
    whole = choose_engine(replace(problem, options=replace(problem.options, name=engine))).new_group
    monkeypatch.setattr(base, "PIECE_SECONDS", 0)
    monkeypatch.setattr("cbp_experiments.engines.online.FIRST_PIECE", 4)
    group, expected = whole(problem, [0]), []
    for task in range(3):
        expected += group.run_task(task, lambda updates: None)
    assert [row and row["examples"] for row in expected] == [5, 35, 52]
    again, rows, pauses = whole(problem, [0]), [], 0
    for task in range(3):
        while not (row := again.run_task(task, lambda updates: True)):
            state, again = again.state(0), whole(problem, [0])
            again.load(0, state)
            pauses += 1
        rows += row
    assert pauses > 5
    assert rows == expected


class Short(Sums):
    """Its tasks lack an example."""

    def task(self, seed: int, task: int) -> Task:
        return replace(super().task(seed, task), order=super().task(seed, task).order[1:])


@each_engine
def test_a_task_of_another_length_than_the_stream_says_is_refused(engine: str) -> None:
    problem = problem_of(Short((5, 30)))
    with pytest.raises(ConfigError, match="task 1 presents 4 examples, and the stream says 5"):
        ENGINES[engine](problem).run_task(0, lambda updates: None)


def test_the_estimate_counts_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has the long task behind it needs less time than one that has it before it; at 1,000 examples/s."""
    monkeypatch.setattr(estimates, "seconds_of_a_task", lambda problem, engine, seeds, examples: examples / 1000)
    long_first, long_last = (problem_of(Sums(spans)) for spans in ((2000, 10, 10), (10, 10, 2000)))
    engine = choose_engine(long_first)
    assert estimates.estimate(long_first, engine, [0], [2]) == pytest.approx(0.02)
    assert estimates.estimate(long_last, engine, [0], [2]) == pytest.approx(2.01)
