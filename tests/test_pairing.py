"""Pairing: with one seed, every learner sees the same permutations, orders, probes and initial weights."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cbp_experiments.cli.compose import CONF
from cbp_experiments.engines import Problem, choose_engine
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.engines.online import OnlineRun
from cbp_experiments.training.job import build_job
from tests.command import composed

LEARNERS = sorted(path.stem for path in (CONF / "learner").glob("*.yaml"))
SEED = 5


class Witness:
    """A stream that remembers what it has presented."""

    def __init__(self, stream: Any):
        self.stream = stream
        self.seen: dict[str, np.ndarray] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def task(self, seed: int, task: int) -> Any:
        presented = self.stream.task(seed, task)
        self.seen[f"order of {task}"] = presented.order
        self.seen[f"permutation of {task}"] = presented.permutation
        return presented

    def probe(self, seed: int, task: int) -> np.ndarray:
        self.seen[f"probe of {task}"] = self.stream.probe(seed, task)
        return self.seen[f"probe of {task}"]


def witnessed(learner: str, batch_size: int, engine: str = "auto") -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """What two tasks of a run have presented, and the initial weights of its layers."""
    job = build_job(
        composed(f"learner={learner}", f"engine={engine}", "scale=smoke", "network.width=12", "data.task_length=60")
    )
    stream = Witness(replace(job.data, batch_size=batch_size).load())
    problem = Problem(stream, job.network, job.learner, job.metrics, job.engine)
    group = choose_engine(problem).new_group(problem, [SEED])
    if isinstance(group, Ensemble):
        weights = [weight[0].detach().numpy().copy() for weight in group.network.weights]
    else:
        assert isinstance(group, OnlineRun)
        weights = [weight.copy() for weight in group.weights]
    for task in range(2):
        group.run_task(task, lambda updates: None)
    return stream.seen, weights


@pytest.mark.parametrize(
    ("learner", "batch_size"),
    [(learner, size) for learner in LEARNERS for size in (1, 10) if (learner, size) != ("batchnorm", 1)],
)
def test_all_learners_are_paired(learner: str, batch_size: int) -> None:
    expected, bp_weights = witnessed("bp", batch_size)
    seen, weights = witnessed(learner, batch_size)
    assert seen.keys() == expected.keys()
    assert len(seen) == 6
    for what, values in expected.items():
        np.testing.assert_array_equal(seen[what], values, err_msg=what)
    same_shape = [layer for layer, weight in enumerate(weights) if weight.shape == bp_weights[layer].shape]
    assert same_shape or learner == "linear"
    for layer in same_shape:
        np.testing.assert_array_equal(weights[layer], bp_weights[layer])


def test_engines_are_paired() -> None:
    online, ensemble = (witnessed("cbp", 1, engine) for engine in ("online", "ensemble"))
    for what, values in online[0].items():
        np.testing.assert_array_equal(ensemble[0][what], values, err_msg=what)
    for mine, theirs in zip(online[1], ensemble[1], strict=True):
        np.testing.assert_array_equal(mine, theirs)
