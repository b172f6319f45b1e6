"""The online engine: the same bytes alone or among others, states that continue, runs that diverge, refusals."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbp_experiments.engines import Problem, Row, arrays, base, choose_engine, online
from cbp_experiments.engines.abilities import refusal as refusal_of
from cbp_experiments.engines.base import EngineOptions
from cbp_experiments.engines.compiled.magnitudes import Magnitudes
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Learner
from cbp_experiments.networks import MLP
from cbp_experiments.results import RunFolder, metrics_csv
from cbp_experiments.training.runner import train
from cbp_experiments.training.runs import Run
from tests.engines.test_fields import Halved
from tests.problems import BP, CBP, tiny_problem
from tests.recording import RecordedRun, learn_all

SEEDS = [4, 0, 7]
ADAM = replace(BP, name="adam", optimizer="adam", step_size=0.003)
ADAM_CBP = replace(CBP, name="adam_cbp", optimizer="adam", step_size=0.003)
ONLINENORM = replace(BP, name="onlinenorm", normalization="online")
LEARNERS = [BP, CBP, replace(CBP, name="cbp_random", utility="random"), ADAM, ADAM_CBP, ONLINENORM]
LEARNERS += [replace(CBP, name="snp_cbp", perturbation_std=1e-3, weight_decay=1e-3)]
LEARNERS += [replace(ADAM_CBP, name="onlinenorm_cbp_adam", normalization="online")]
LEARNERS += [replace(BP, name="snp_dropout", perturbation_std=1e-3, weight_decay=1e-3, dropout=0.1)]
each_learner = pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: learner.name)


def ignore(updates: int) -> None:
    """Progress that is not looked at."""


def train_into(folder: Path, problem: Problem, seeds: list[int]) -> list[Run]:
    """As the command line does: through the runner, into run folders."""
    facts = {"tasks": problem.stream.tasks}
    runs = [Run(RunFolder(folder / f"seed{seed}"), {"seed": seed}, facts, retrain=False) for seed in seeds]
    train(problem, choose_engine(problem), runs, checkpoint_seconds=3600)
    return runs


@pytest.mark.parametrize("workers", [1, 2])
@each_learner
def test_a_run_alone_writes_the_same_bytes_as_among_others(learner: Learner, workers: int, tmp_path: Path) -> None:
    def problem(workers: int) -> Problem:
        return tiny_problem(learner, dtype="float32", workers=workers)

    assert choose_engine(problem(workers)).name == "online"
    train_into(tmp_path / "among", problem(workers), SEEDS)
    for seed in SEEDS:
        train_into(tmp_path / "alone", problem(1), [seed])
        written = [(tmp_path / how / f"seed{seed}" / "metrics.csv").read_bytes() for how in ("among", "alone")]
        assert written[0] == written[1]
        assert written[0].count(b"\n") == 1 + 3


@each_learner
def test_a_run_continues_from_its_state_bit_by_bit(learner: Learner) -> None:
    problem = tiny_problem(learner, dtype="float32")
    uninterrupted = RecordedRun(problem, 4)
    uninterrupted.run_task(0, ignore)
    uninterrupted.run_task(1, ignore)
    state = uninterrupted.state(0)
    kept = {name: array.copy() for name, array in state.items()}
    expected = uninterrupted.run_task(2, ignore)
    for name, array in kept.items():
        np.testing.assert_array_equal(state[name], array, err_msg="a state must be a copy")

    run = RecordedRun(problem, 4)
    run.load(0, state)
    assert run.run_task(2, ignore) == expected
    np.testing.assert_array_equal(run.losses(), uninterrupted.losses()[80:])
    for name, array in uninterrupted.state(0).items():
        assert run.state(0)[name].tobytes() == array.tobytes()


@each_learner
def test_a_run_continues_from_within_a_task_bit_by_bit(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paused after every few updates and continued by another process, as it were; across chunks, too."""
    monkeypatch.setattr(base, "PIECE_SECONDS", 0)
    monkeypatch.setattr(online, "FIRST_PIECE", 6)
    monkeypatch.setattr(online, "CHUNK", 16)
    problem = tiny_problem(learner, dtype="float32", tasks=2)
    examples = arrays.sparse_examples(problem)
    whole = online.OnlineRun(problem, examples, 4)
    expected = [whole.run_task(task, ignore) for task in range(2)]

    run, pauses = online.OnlineRun(problem, examples, 4), 0
    for task in range(2):
        while not (rows := run.run_task(task, lambda updates: True)):
            state, run = run.state(0), online.OnlineRun(problem, examples, 4)
            assert 0 < state["position"] < 40
            run.load(0, state)
            pauses += 1
        assert rows == expected[task]
    assert pauses > 10
    for name, array in whole.state(0).items():
        assert run.state(0)[name].tobytes() == array.tobytes()


def test_a_state_of_another_run_is_refused() -> None:
    problem = tiny_problem(CBP)
    run = RecordedRun(problem, 0)
    state = run.state(0)
    for damaged in (
        {name: array for name, array in state.items() if name != "mechanism_0_age"},
        state | {"more": np.zeros(3)},
        state | {"weights": np.zeros(3)},
        state | {"weights": np.array(1.0)},
        state | {"weights": state["weights"].astype(np.float32)},
        state | {"position": np.array(5)},
    ):
        with pytest.raises((KeyError, ValueError)):
            run.load(0, damaged)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_learner
def test_a_huge_step_size_diverges(learner: Learner, dtype: str) -> None:
    """The first task says so; the metrics before the next one do not stumble over the ruins."""
    learner = replace(learner, step_size=1e300 if dtype == "float64" else 1e30, weight_decay=0.0)
    run = RecordedRun(tiny_problem(learner, dtype=dtype), 0)
    assert learn_all(run) == [[None]] * 3
    assert np.isfinite(run.losses()).sum() < 40


def test_the_others_go_on_when_a_run_diverges(tmp_path: Path) -> None:
    problem = replace(tiny_problem(CBP, dtype="float32", workers=2), network=Explosive(12, 2))
    runs = train_into(tmp_path / "among", problem, SEEDS)
    assert [run.status for run in runs] == ["complete", "diverged", "complete"]
    for seed in (4, 7):
        train_into(tmp_path / "alone", tiny_problem(CBP, dtype="float32"), [seed])
        written = [(tmp_path / how / f"seed{seed}" / "metrics.csv").read_bytes() for how in ("among", "alone")]
        assert written[0] == written[1]


class Explosive(MLP):
    """An MLP whose weights are infinite for seed 0."""

    def initial_weights(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        weights = super().initial_weights(seed, inputs, classes)
        return weights if seed else [np.full_like(weight, np.inf) for weight in weights]


def test_chunks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel puts off is settled after each chunk; where they end changes nothing in exact arithmetic."""
    problem = tiny_problem(BP, task_length=100, dtype="float32")
    whole, chunked = RecordedRun(problem, 0), online.OnlineRun(problem, arrays.sparse_examples(problem), 0)
    expected = whole.run_task(0, ignore)
    counts: list[int] = []
    monkeypatch.setattr(online, "CHUNK", 30)
    assert chunked.run_task(0, counts.append) == expected
    assert counts == [30, 30, 30, 10]


def test_running_sums_of_the_weights_stay_close_to_the_sums() -> None:
    """Between fresh sums (here: none after the first) they gather rounding errors: a few a update, of float32.

    300 updates change a sum of up to 20 weights at most 300 x 20 times, by independent errors of half a unit:
    sqrt(6000) 2^-24 of the largest value that the sum has had, less than 1e-5 of it.
    """
    run = RecordedRun(tiny_problem(CBP, task_length=300, dtype="float32"), 0)
    run.run_task(0, ignore)
    assert len(run.events()) > 20
    magnitudes = run.part(Magnitudes)
    for layer, weight in enumerate(run.weights):
        inputs, outputs = weight.shape
        kept = [(magnitudes.incoming, 0, outputs), (magnitudes.outgoing, 1, inputs)]
        for sums, axis, n in kept if layer > 0 else kept[:1]:
            expected = np.abs(weight.astype(np.float64)).sum(axis=axis)
            np.testing.assert_allclose(sums[layer, :n], expected, rtol=0, atol=1e-5 * expected.max())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"momentum": 0.9}, "momentum moves every weight at every update"),
    (
        {"optimizer": "adam", "replacement_rate": 1e-3, "normalization": "online", "reset_normalization": False},
        "a unit's gain shares its count of Adam's updates, and learner.reset_normalization=false parts the two",
    ),
    ({"others": {"mine": Halved()}}, "it has no compiled half of Halved (learner.mine)"),
]


@pytest.mark.parametrize(("keys", "reason"), REFUSED)
def test_it_says_which_learners_it_cannot_train(keys: dict[str, Any], reason: str) -> None:
    refuse(tiny_problem(replace(BP, **keys)), reason)


def test_it_refuses_minibatches_and_other_devices() -> None:
    refuse(tiny_problem(BP, batch_size=8), "it learns from one example at a time, and data.batch_size is 8")
    refuse(
        tiny_problem(replace(BP, normalization="batch"), batch_size=8),
        "batch normalization takes the statistics of a mini-batch, and it has one example at a time",
    )
    refuse(
        replace(tiny_problem(BP), options=EngineOptions(device="cuda")),
        "it runs on the CPU, and engine.device is cuda",
    )


def refuse(problem: Problem, reason: str) -> None:
    refusal = refusal_of("online", problem)
    assert refusal is not None
    assert refusal.startswith(reason)
    with pytest.raises(ConfigError, match="engine=online cannot do this: ") as error:
        choose_engine(replace(problem, options=replace(problem.options, name="online")))
    assert reason in str(error.value)


@pytest.mark.parametrize("name", ["auto", "online"])
def test_it_is_chosen_where_it_can(name: str) -> None:
    problem = tiny_problem(CBP, workers=2)
    engine = choose_engine(replace(problem, options=replace(problem.options, name=name)))
    assert (engine.name, engine.together, engine.workers) == ("online", False, 2)
    assert engine.new_group(problem, [3]).seeds == [3]


def test_metrics_leave_the_statistics_of_normalization_as_they_are() -> None:
    """And use them: what is measured changes when a statistic does."""
    run = RecordedRun(tiny_problem(ONLINENORM), 0)
    run.run_task(0, ignore)
    state, position = run.state(0), np.arange(20)
    row = run.measure(1, position)
    for name, array in state.items():
        np.testing.assert_array_equal(run.state(0)[name], array)
    run.parts.normalization.mean[:] = 10
    run.network.gains[:] = 1
    assert run.measure(1, position)["dead_units"] == 100
    assert row["dead_units"] < 100


def test_what_decays_to_nothing_ends_at_0() -> None:
    """Denormal numbers are slow: the statistics of a unit that nothing reaches do not linger there."""
    problem = tiny_problem(replace(ONLINENORM, normalization_decay=0.5), task_length=400, dtype="float32")
    run = RecordedRun(problem, 0)
    for weight in run.weights[:-1]:
        weight[:, 0] = 0
    run.run_task(0, ignore)
    run.weights[0][:, 0] = 0
    run.learn(np.zeros(400, np.int64), np.arange(20), 0, ignore)  # the image that is empty
    for name in ("mean", "variance", "error_y", "error_1"):
        values = np.abs(getattr(run.parts.normalization, name)[:, :12])
        assert ((values == 0) | (values > np.finfo(np.float32).tiny)).all(), name
    assert run.parts.normalization.variance[0, 0] == 0


def test_rows_carry_what_the_csv_needs() -> None:
    rows: list[Row] = [row for [row] in learn_all(RecordedRun(tiny_problem(CBP), 0)) if row is not None]
    header = metrics_csv(rows).splitlines()[0].split(",")
    measured = ["dead_units", "dormant_units", "weight_magnitude", "effective_rank"]
    assert header[:8] == ["task", "examples", "accuracy", "loss", *measured]
    assert [row["examples"] for row in rows] == [40, 80, 120]
