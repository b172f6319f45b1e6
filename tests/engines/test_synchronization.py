"""An update of the ensemble engine asks its device for nothing: the host runs ahead of it, and a graph can hold it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cbp_experiments import engines
from cbp_experiments.engines import EngineOptions, Problem
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.engines.graphs import WARM_UP, takes_graphs
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Actor, Learner, Mechanism, Step
from cbp_experiments.metrics.measurements import Measurements
from cbp_experiments.networks import MLP, Architecture, ConvNet
from cbp_experiments.streams.continual_imagenet import ContinualImageNet
from tests.problems import BP, CBP, tiny_problem

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
ALL = replace(
    CBP, perturbation_std=1e-3, weight_decay=1e-3, dropout=0.1, replacement_rate=0.3, maturity_threshold=2, momentum=0.9
)
LEARNERS = {
    "all": ALL,
    "adam": replace(ALL, optimizer="adam", momentum=0.0, step_size=1e-3),
    "batchnorm": replace(ALL, normalization="batch"),
    "onlinenorm": replace(ALL, normalization="online"),
    "random": replace(ALL, utility="random"),
    "layernorm": replace(ALL, normalization="layer"),
    "adamw": replace(ALL, optimizer="adamw", momentum=0.0, step_size=1e-3, optimizer_state="moments"),
    "reset_momentum": replace(ALL, reset_momentum=True),
}
each_learner = pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
each_network = pytest.mark.parametrize("network", [MLP(12, 2), ConvNet(8)], ids=["mlp", "conv"])


def problem_of(learner: Learner, network: Architecture, options: EngineOptions) -> Problem:
    if isinstance(network, MLP):
        return replace(tiny_problem(learner, network=network, batch_size=10), options=options)
    stream = ContinualImageNet(tasks=2, epochs=2, source="synthetic", synthetic_classes=4).load()
    stream = stream.shortened(10 * stream.batch_size)
    return Problem(stream, network, learner, Measurements(features=[]), options)


class Watched(TorchDispatchMode):
    """Notes the copies between the host and a device."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        involved = {x.device.type for x in (*args, result) if isinstance(x, torch.Tensor) and x.ndim}
        if len(involved) > 1:
            self.copies.append(func.overloadpacket.__name__)
        return result


@each_network
@each_learner
def test_an_update_reads_nothing_from_its_device(learner: Learner, network: Architecture) -> None:
    """On PyTorch's device without memory, where whatever wants a value fails; replacement, noise, dropout included."""
    problem = problem_of(learner, network, EngineOptions(device="cpu"))
    stacked = network.stack(
        [problem.initial_weights(seed) for seed in (3, 4)],
        [problem.initial_biases(seed) for seed in (3, 4)],
        problem.bounds(),
        torch.device("meta"),
        torch.float32,
    )
    step = Step(learner, stacked)
    x = torch.zeros(2, 10, problem.inputs, device="meta")
    y = torch.zeros(2, 10, dtype=torch.int64, device="meta")
    replaced = 0
    with Watched() as watched:
        for _ in range(5):
            losses, right = step(x, y)
            replaced += sum(units.numel() for actor in step.actors for _, units in replaced_by(actor))
    assert (losses.shape, right.shape) == ((2,), (2,))
    assert replaced > 10
    assert watched.copies == []


def present(group: Ensemble) -> torch.Tensor:
    """Let a group's updates see its first task: the rows of a mini-batch."""
    stream = group.problem.stream
    tasks = [stream.task(seed, 0) for seed in group.seeds]
    shown = group.show(tasks)
    group.present(shown)
    group.step.begin_task(group.seeds)
    return shown.rows(task.order[: stream.batch_size] for task in tasks)


def replaced_by(actor: Actor) -> list[tuple[int, torch.Tensor]]:
    return getattr(actor, "replaced", [])


@gpu
@each_network
@each_learner
@pytest.mark.parametrize("graph", ["auto", "off"])
def test_a_gpu_is_never_waited_for(learner: Learner, network: Architecture, graph: str) -> None:
    group = Ensemble(problem_of(learner, network, EngineOptions(device="cuda", graph=graph)), [3, 4])
    rows = present(group)
    for _ in range(WARM_UP + 1):  # libraries are loaded, the graph is captured
        group.update(rows)
    with never_waiting():
        for _ in range(10):
            group.update(rows)
    assert (group.graph is not None and group.graph.graph is not None) == (graph == "auto")


@contextmanager
def never_waiting() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@gpu
@each_network
@each_learner
def test_a_graph_changes_no_number(learner: Learner, network: Architecture) -> None:
    """Two tasks, the second one's images and permutation in the first one's memory: every bit of rows and states."""
    results = []
    for graph in ("auto", "off"):
        group = Ensemble(problem_of(learner, network, EngineOptions(device="cuda", graph=graph)), [3, 4])
        rows = [group.run_task(task, lambda updates: None) for task in range(2)]
        results.append((rows, [group.state(run) for run in range(2)]))
    (rows, states), (expected_rows, expected_states) = results
    assert rows == expected_rows
    for state, expected in zip(states, expected_states, strict=True):
        for name, array in expected.items():
            np.testing.assert_array_equal(state[name], array, err_msg=name)


@dataclass(frozen=True)
class Silent(Mechanism):
    """Says nothing of graphs, and does nothing."""

    def actor(self, step: Step) -> Actor:
        return Actor()


@dataclass(frozen=True)
class Willing(Silent):
    capturable: ClassVar[bool] = True


def with_others(*mechanisms: Mechanism) -> Learner:
    return replace(CBP, others={type(m).__name__: m for m in mechanisms})


def test_who_takes_graphs() -> None:
    """On a GPU, if it is not switched off, and every mechanism has said that it can."""
    cuda, cpu, options = torch.device("cuda"), torch.device("cpu"), EngineOptions()
    assert takes_graphs(cuda, options, BP)
    assert takes_graphs(cuda, options, with_others(Willing()))
    assert not takes_graphs(cuda, options, with_others(Willing(), Silent()))
    assert not takes_graphs(cpu, options, BP)
    assert not takes_graphs(cuda, replace(options, graph="off"), BP)


@pytest.mark.parametrize(
    ("mechanism", "graph", "reason"),
    [
        (None, "auto", "as asked; an update is a CUDA graph"),
        (None, "off", "as asked; updates kernel by kernel"),
        (Willing, "auto", "as asked; an update is a CUDA graph"),
        (
            Silent,
            "auto",
            "as asked; updates kernel by kernel, because a mechanism of the learner does",
        ),
    ],
)
def test_the_plan_says_whether_there_is_a_graph(
    mechanism: type[Mechanism] | None, graph: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "choose_device", lambda name: torch.device("cuda"))
    learner = with_others(mechanism()) if mechanism else CBP
    problem = problem_of(learner, MLP(12, 2), EngineOptions(name="ensemble", graph=graph))
    assert engines.choose_engine(problem).reason.startswith(reason)


@dataclass(frozen=True)
class Waiting(Willing):
    """Claims to be capturable, and asks the device."""

    def actor(self, step: Step) -> Actor:
        return Asking()


class Asking(Actor):
    def after_update(self, step: Step, hidden: list[torch.Tensor]) -> None:
        hidden[0].sum().item()


@gpu
def test_a_mechanism_that_asks_the_device_is_refused() -> None:
    learner = with_others(Waiting())
    group = Ensemble(problem_of(learner, MLP(12, 2), EngineOptions(device="cuda")), [3])
    with pytest.raises(ConfigError, match=r"cannot be captured as a CUDA graph \(.*\); set engine.graph=off"):
        group.run_task(0, lambda updates: None)
    group = Ensemble(problem_of(learner, MLP(12, 2), EngineOptions(device="cuda", graph="off")), [3])
    assert group.run_task(0, lambda updates: None) != [None]
