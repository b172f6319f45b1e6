"""Adam on the online engine: rows without input catch up when they are read again, and rest once they have faded."""

from dataclasses import replace

import numpy as np
import pytest

from cbp_experiments.engines import Problem, arrays
from cbp_experiments.engines.compiled import adam as compiled
from cbp_experiments.engines.compiled.adam_rows import AdamArrays, ages, move_row, updates_to_fade
from cbp_experiments.engines.compiled.structures import CHUNK, RunArrays
from cbp_experiments.learners import Learner
from tests.engines.test_equivalence import assert_engines_agree
from tests.problems import BP, CBP, tiny_problem
from tests.recording import RecordedRun

# Moments of a short memory, so that a row fades within a task.
ADAM = replace(BP, name="adam", optimizer="adam", step_size=0.003, beta1=0.3, beta2=0.9)
ADAM_CBP = replace(CBP, name="adam_cbp", optimizer="adam", step_size=0.003, beta1=0.3, beta2=0.9)
RARE = np.arange(5)  # pixels that are 0 but for one image in 50
each_learner = pytest.mark.parametrize("learner", [ADAM, ADAM_CBP], ids=lambda learner: learner.name)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def rarely_lit(learner: Learner, dtype: str = "float64") -> Problem:
    problem = tiny_problem(learner, task_length=200, dtype=dtype)
    problem.stream.images[:, RARE] = 0
    problem.stream.images[7, RARE] = 200
    return problem


def adam_of(learner: Learner, dtype: str) -> tuple[RunArrays, AdamArrays]:
    """Its arrays in a network of 3 inputs and 4 outputs."""
    network = arrays.network([3, 4], [1.0], "relu", np.dtype(dtype))
    parts = arrays.parts(learner, network)
    assert isinstance(parts.optimizer, AdamArrays)
    return arrays.run(network), parts.optimizer


def steps_without_gradient(beta1: float, beta2: float, gradients: int, count: int) -> np.ndarray:
    """Adam's step at the last of some random gradients, and the `count` steps that follow it; epsilon 0."""
    m = v = 0.0
    steps = []
    for t in range(1, gradients + count + 1):
        g = np.random.default_rng(t).normal() if t <= gradients else 0.0
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        steps.append(m / (1 - beta1**t) / (v / (1 - beta2**t)) ** 0.5)
    return np.array(steps[gradients - 1 :])


@each_dtype
@pytest.mark.parametrize("gradients", [1, 3, 100, 3000])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.3, 0.9), (0.0, 0.999), (0.95, 0.95), (0.9, 0.82)])
def test_what_is_left_out_is_below_rounding(beta1: float, beta2: float, gradients: int, dtype: str) -> None:
    fade = updates_to_fade(beta1, beta2, np.dtype(dtype), most=10_000)
    assert fade < 10_000
    step, *rest = np.abs(steps_without_gradient(beta1, beta2, gradients, fade + 1000))
    assert sum(rest[fade:]) < step * np.finfo(dtype).eps / 2


def test_without_a_bound_nothing_is_left_out() -> None:
    """beta1 >= sqrt(beta2): the steps do not become smaller."""
    for beta1, beta2 in ((0.9, 0.81), (0.9, 0.5), (0.5, 0.0)):
        assert updates_to_fade(beta1, beta2, np.dtype("float32"), most=500) == 500


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.5, 0.99), (0.8, 0.9999)])
def test_waiting_weights_move_by_a_series_as_step_by_step(beta1: float, beta2: float) -> None:
    """Of roots s far below, near and far above epsilon, in float64, where the difference is what the series leaves out.

    A run of 3,000 updates, and rows that wait since some update of it, young and old, short and long.
    """
    learner = replace(BP, name="adam", optimizer="adam", beta1=beta1, beta2=beta2)
    run, stepwise = adam_of(learner, "float64")
    unit = 2.0**-24
    fade = updates_to_fade(beta1, beta2, np.dtype("float32"), most=1000)
    stepwise = stepwise._replace(
        fade=fade, ages=ages(beta1, beta2, fade), parts=np.zeros(fade), negligible=unit, moved=np.zeros(16)
    )
    series = stepwise._replace(sums=np.zeros((5, CHUNK)))
    m, s = np.ones((1, 16)), 10.0 ** np.linspace(-15, 1, 16)[None]
    compared = 0
    for now in range(1, 3001):
        compiled.age_corrections(series, run)
        if now % 100 and now > 20:
            continue
        for wait in (1, 2, 3, 10, 50, 400):
            if wait <= now:
                by_series, by_steps = np.zeros((1, 16)), np.zeros((1, 16))
                move_row(by_series, m, s, 0, now - wait, series)
                move_row(by_steps, m, s, 0, now - wait, stepwise)
                np.testing.assert_allclose(by_series, by_steps, rtol=unit, atol=0)
                compared += (by_series != by_steps).any()
    assert compared > 50


def test_old_rows_are_not_moved_step_by_step() -> None:
    """In float32: the single rates are forgotten once they are summed, but for the young."""
    learner = replace(BP, name="adam", optimizer="adam", step_size=1e-4)
    run, adam = adam_of(learner, "float32")
    for _ in range(4000):
        compiled.age_corrections(adam, run)
    adam.rates[:] = 0
    for begin, moves in ((0, False), (100, False), (2500, True), (3990, True)):
        w, ones = np.zeros((1, 16), np.float32), np.ones((1, 16), np.float32)
        move_row(w, ones, ones, 0, begin, adam)
        assert (w != 0).all() == moves


@pytest.mark.parametrize(
    "learner",
    [
        ADAM,
        ADAM_CBP,
        replace(ADAM, dropout=0.3),
        replace(ADAM, weight_decay=1e-3),
        replace(ADAM, beta1=0.96),
        replace(ADAM, beta1=0.0),
    ],
    ids=["adam", "adam_cbp", "dropout", "weight_decay", "no_bound", "no_first_moment"],
)
def test_engines_agree_on_inputs_that_come_back(learner: Learner) -> None:
    """Images come in random order: pixels of one image in 50 come back after more and after fewer updates than fade."""
    problem = rarely_lit(learner)
    fade = updates_to_fade(0.3, 0.9, np.dtype("float64"), most=200)
    idle = [np.diff(np.nonzero(problem.stream.task(1, task).order == 7)[0]) for task in range(problem.stream.tasks)]
    assert (np.concatenate(idle) > fade + 10).any()
    assert (np.concatenate(idle) < fade).any()
    assert_engines_agree(problem, seed=1)


def learn(run: RecordedRun, idle: int) -> np.ndarray:
    """The weights of the rare pixels after images that show them and `idle` others that do not."""
    others = np.array([image for image in range(1, 50) if image != 7])
    order = np.concatenate([[7, 3, 7], np.resize(others, idle)])
    run.learn(order, np.arange(20), 0, lambda updates: None)
    return run.weights[0][RARE].copy()


@each_dtype
@each_learner
def test_rows_without_input_move_until_they_have_faded(learner: Learner, dtype: str) -> None:
    learner = replace(learner, maturity_threshold=1000)  # replacements would draw weights anew
    problem = rarely_lit(learner, dtype)
    left = {}
    for idle in (4, 5, 6, 40):
        run = RecordedRun(problem, 0)
        run.parts = run.parts._replace(optimizer=run.parts.optimizer._replace(fade=5))
        left[idle] = learn(run, idle)
    assert (left[4] != left[5]).any()
    np.testing.assert_array_equal(left[6], left[5])
    np.testing.assert_array_equal(left[40], left[5])


@each_dtype
def test_weight_decay_lets_no_row_rest(dtype: str) -> None:
    problem = rarely_lit(replace(ADAM, weight_decay=0.1), dtype)
    left = [learn(RecordedRun(problem, 0), idle) for idle in (100, 101)]
    assert (left[0] != left[1]).all()


@each_learner
def test_the_moments_of_a_resting_row_decay_with_every_update(learner: Learner) -> None:
    learner = replace(learner, maturity_threshold=1000)
    problem = rarely_lit(learner)
    runs = [RecordedRun(problem, 0) for _ in range(2)]
    for run, idle in zip(runs, (0, 60), strict=True):
        learn(run, idle)
    assert runs[0].part(AdamArrays).fade < 50
    n = runs[0].network.strides[1]
    first, root = ([getattr(run.part(AdamArrays), name)[: len(RARE) * n] for run in runs] for name in ("first", "root"))
    assert first[0].any()
    np.testing.assert_allclose(first[1], 0.3**60 * first[0], rtol=1e-12, atol=1e-30)
    np.testing.assert_allclose(root[1], 0.9**30 * root[0], rtol=1e-12, atol=1e-15)


@each_dtype
@each_learner
def test_a_run_continues_from_any_task_bit_by_bit(learner: Learner, dtype: str) -> None:
    """After a task every row is up to date: what waits or rests is no part of the state."""
    problem = rarely_lit(learner, dtype)
    whole = RecordedRun(problem, 1)
    states, rows = [], []
    for task in range(problem.stream.tasks):
        states.append(whole.state(0))
        rows.append(whole.run_task(task, lambda updates: None))
    for task in (1, 2):
        resumed = RecordedRun(problem, 1)
        resumed.load(0, states[task])
        assert [resumed.run_task(later, lambda updates: None) for later in range(task, len(rows))] == rows[task:]
        for name, array in whole.state(0).items():
            assert resumed.state(0)[name].tobytes() == array.tobytes()
