"""No field is ignored: on each engine, another value of it changes the numbers or is refused.

The tables below have an entry for every field of a learner, the networks, the streams and their tasks: settings in
which the field counts, and another value. A field without an entry fails the test of its class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from cbp_experiments.engines import Problem, abilities, choose_engine
from cbp_experiments.engines.abilities import Half, refusal
from cbp_experiments.engines.arrays import sparse_examples
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.engines.online import OnlineRun
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import NORMALIZATIONS, UTILITIES, Actor, Learner, Mechanism, Step
from cbp_experiments.networks import ACTIVATIONS, MLP, ConvNet
from cbp_experiments.streams import Examples, Task, mnist_files
from cbp_experiments.streams.continual_imagenet import ClassPairs, ContinualImageNet
from cbp_experiments.streams.image_cache import ImageClasses
from cbp_experiments.streams.permuted_mnist import PermutedMNIST
from tests.problems import BP, tiny_problem

ENGINES = ["online", "ensemble"]
each_engine = pytest.mark.parametrize("engine", ENGINES)
Entries = Mapping[str, tuple[dict[str, Any], Any]]  # field -> settings in which it counts, another value


@dataclass(frozen=True)
class Halved(Mechanism):
    """A mechanism of a user's own."""

    def actor(self, step: Step) -> Actor:
        return Halving()


class Halving(Actor):
    def gradients(self, step: Step, gradients: list[torch.Tensor]) -> None:
        for gradient in gradients:
            gradient *= 0.5


OTHERS = {"mine": Halved()}
ADAM: dict[str, Any] = {"optimizer": "adam", "step_size": 0.003}
CBP: dict[str, Any] = {"replacement_rate": 0.02, "maturity_threshold": 10, "decay_rate": 0.9}
NORMALIZED: dict[str, Any] = {"normalization": "online"}
LEARNER: Entries = {
    "step_size": ({}, 0.02),
    "optimizer": ({}, "adam"),
    "momentum": ({}, 0.9),
    "beta1": (ADAM, 0.5),
    "beta2": (ADAM, 0.9),
    "epsilon": (ADAM, 1e-3),
    "weight_decay": ({}, 0.1),
    "perturbation_std": ({}, 0.01),
    "dropout": ({}, 0.3),
    "normalization": ({}, "online"),
    "normalization_decay": (NORMALIZED, 0.9),
    "normalization_backward_decay": (NORMALIZED, 0.9),
    "normalization_epsilon": (NORMALIZED, 0.1),
    "replacement_rate": (CBP, 0.05),
    "maturity_threshold": (CBP, 5),
    "decay_rate": (CBP, 0.5),
    "utility": (CBP, "weight"),
    "reset_momentum": (CBP | {"momentum": 0.9}, True),
    "reset_normalization": (CBP | NORMALIZED, False),
    "optimizer_state": (CBP | ADAM, "none"),
    "others": ({}, OTHERS),
}
MLPS: Entries = {"width": ({}, 8), "depth": ({}, 1), "activation": ({}, "tanh")}
CONV_NETS: Entries = {"width": ({}, 4)}
MNIST: Entries = {
    "tasks": ({}, 3),
    "task_length": ({}, 30),
    "batch_size": ({}, 2),
    "source": ({}, "mnist"),
}
IMAGENET: Entries = {
    "tasks": ({}, 4),
    "epochs": ({}, 3),
    "batch_size": ({}, 2),
    "train_images": ({}, 6),
    "test_images": ({}, 5),
    "pairs": ({}, "repeated"),
    "source": ({}, "cifar100"),
    "synthetic_classes": ({}, 6),
}
NEUTRAL = {  # fields that change no number, and why
    Learner: {"name": "what folders and figures call it"},
    PermutedMNIST: {"name": "the folder of its results", "root": "where its files are"},
    ContinualImageNet: {"name": "the folder of its results", "root": "where its files are"},
}
TASK: dict[str, Callable[[Task], Any]] = {
    "order": lambda task: task.order[::-1].copy(),
    "permutation": lambda task: None,
    "examples": lambda task: Examples(np.full((50, 20), 100, np.uint8), np.arange(50) % 4),
    "tests": lambda task: {"test_accuracy": np.arange(5)},
    "new_head": lambda task: True,
}


def numbers(engine: str, problem: Problem) -> str:
    """The rows of metrics of a run, all digits."""
    group = Ensemble(problem, [0]) if engine == "ensemble" else OnlineRun(problem, sparse_examples(problem), 0)
    return repr([group.run_task(task, lambda updates: None) for task in range(problem.stream.tasks)])


def changed(part: Any, name: str, value: Any) -> Any:
    return replace(part, **{name: value})


def changes_or_is_refused(engine: str, before: Problem, after: Problem) -> bool:
    return refusal(engine, after) is not None or numbers(engine, before) != numbers(engine, after)


def forgotten(kind: Any, entries: Mapping[str, Any]) -> list[str]:
    """The fields that have no entry."""
    known = {*entries, *NEUTRAL.get(kind, {})}
    return [entry.name for entry in fields(kind) if entry.name not in known]


def tiny(learner: Learner = BP, **keys: Any) -> Problem:
    return tiny_problem(learner, tasks=2, features=("dead_units",), **keys)


@pytest.mark.parametrize(
    ("kind", "entries"),
    [
        (Learner, LEARNER),
        (MLP, MLPS),
        (ConvNet, CONV_NETS),
        (PermutedMNIST, MNIST),
        (ContinualImageNet, IMAGENET),
        (Task, TASK),
    ],
)
def test_every_field_has_an_entry(kind: type, entries: Mapping[str, Any]) -> None:
    assert forgotten(kind, entries) == [], "add settings in which the field counts, and another value"


@each_engine
@pytest.mark.parametrize("name", LEARNER)
def test_fields_of_learners(engine: str, name: str) -> None:
    settings, value = LEARNER[name]
    before = replace(BP, **settings)
    assert changes_or_is_refused(engine, tiny(before), tiny(changed(before, name, value)))


@each_engine
@pytest.mark.parametrize("name", MLPS)
def test_fields_of_fully_connected_networks(engine: str, name: str) -> None:
    network = MLP(12, 2)
    before, after = tiny(network=network), tiny(network=replace(network, **{name: MLPS[name][1]}))
    assert changes_or_is_refused(engine, before, after)


def images(side: int = 32, seed: int = 0) -> np.ndarray:
    """Five classes of 12 images: `[5, 12, 3, side, side]`."""
    return np.random.default_rng(seed).integers(0, 256, (5, 12, 3, side, side), np.uint8)


@each_engine
def test_fields_of_convolutional_networks(engine: str) -> None:
    stream = ClassPairs(
        images(24).reshape(5, 12, -1), tasks=1, task_length=16, batch_size=1, train_images=8, test_images=4
    )
    before = replace(tiny(), stream=stream, network=ConvNet(8))
    for _, value in CONV_NETS.values():
        assert changes_or_is_refused(engine, before, replace(before, network=ConvNet(value)))


@each_engine
@pytest.mark.parametrize("name", MNIST)
def test_fields_of_permuted_mnist(engine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def digits(root: str = "") -> tuple[np.ndarray, np.ndarray]:
        drawn = np.random.default_rng(len(root))
        return drawn.integers(0, 256, (50, 784), np.uint8), drawn.integers(0, 10, 50)

    monkeypatch.setattr(mnist_files, "embedded", digits)
    monkeypatch.setattr(mnist_files, "training_set", digits)
    before = PermutedMNIST(tasks=2, task_length=40)
    after = replace(before, **{name: MNIST[name][1]})
    problems = [replace(tiny(), stream=configuration.load()) for configuration in (before, after)]
    assert changes_or_is_refused(engine, *problems)


@each_engine
@pytest.mark.parametrize("name", IMAGENET)
def test_fields_of_continual_imagenet(engine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_images(source: str, root: str, *, synthetic_classes: int, synthetic_images: int) -> ImageClasses:
        drawn = images(seed=synthetic_classes + len(source))
        return ImageClasses(drawn, ("a", "b", "c", "d", "e"), "noise", "sha256:")

    monkeypatch.setattr("cbp_experiments.streams.continual_imagenet.load_images", load_images)
    before = ContinualImageNet(
        tasks=3, epochs=2, batch_size=4, train_images=4, test_images=3, source="synthetic", synthetic_classes=5
    )
    after = replace(before, **{name: IMAGENET[name][1]})
    problems = [replace(tiny(), stream=configuration.load()) for configuration in (before, after)]
    assert changes_or_is_refused(engine, *problems)


class Altered:
    """The stream of `tiny`, its tasks from number `first` on changed."""

    def __init__(self, change: Callable[[int, Task], Task], first: int = 0):
        self.stream, self.change, self.first = tiny().stream, change, first

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def task(self, seed: int, task: int) -> Task:
        drawn = self.stream.task(seed, task)
        return self.change(seed, drawn) if task >= self.first else drawn


def with_tasks(change: Callable[[int, Task], Task], first: int = 0, **keys: Any) -> Problem:
    stream: Any = Altered(change, first)
    vars(stream).update(keys)
    return replace(tiny(), stream=stream)


@each_engine
@pytest.mark.parametrize("name", TASK)
def test_fields_of_tasks(engine: str, name: str) -> None:
    after = with_tasks(lambda seed, task: replace(task, **{name: TASK[name](task)}))
    assert changes_or_is_refused(engine, tiny(), after)


KINDS = {
    "optimizer": ("sgd", "adam"),
    "normalization": ("none", *NORMALIZATIONS),
    "utility": UTILITIES,
    "activation": ACTIVATIONS,
}


@each_engine
@pytest.mark.parametrize("name", KINDS)
def test_no_kind_trains_as_another(engine: str, name: str) -> None:
    cbp = replace(BP, **CBP)
    problems = [
        tiny(cbp, network=MLP(12, 2, kind))
        if name == "activation"
        else tiny(changed(cbp, name, kind), batch_size=4 if name == "normalization" and engine == "ensemble" else 1)
        for kind in KINDS[name]
        if engine == "ensemble" or kind not in ("batch", "layer", "crelu")  # which it refuses
    ]
    assert {refusal(engine, problem) for problem in problems} == {None}
    assert len({numbers(engine, problem) for problem in problems}) == len(problems) > 1


# What somebody adds and forgets.

Forgetful: Any = make_dataclass("Forgetful", [("dummy", float, field(default=0.0))], bases=(Learner,), frozen=True)
ForgetfulTask: Any = make_dataclass("ForgetfulTask", [("dummy", float, field(default=0.0))], bases=(Task,), frozen=True)


@dataclass(frozen=True)
class Idle(Mechanism):
    """A mechanism that does not read its field."""

    dummy: float = 0.0

    def actor(self, step: Step) -> Actor:
        return Actor()


def forgetful(dummy: float) -> Problem:
    return tiny(Forgetful(name="forgetful", step_size=0.05, dummy=dummy))


def test_a_field_without_an_entry_is_found() -> None:
    assert forgotten(Forgetful, {**LEARNER, "name": ({}, "other")}) == ["dummy"]


@each_engine
def test_a_field_that_an_engine_does_not_list_is_refused_unless_it_has_its_default(engine: str) -> None:
    assert refusal(engine, forgetful(0.0)) is None
    assert refusal(engine, forgetful(0.5)) == "it does not know learner.dummy"


def test_a_field_that_is_listed_and_does_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = (tiny(replace(BP, others={"mine": Idle(dummy)})) for dummy in (0.0, 0.5))
    monkeypatch.setitem(abilities.HALVES, Idle, Half(None, {}))
    assert refusal("online", before) is None
    assert refusal("online", after) == "it does not know learner.mine.dummy"
    monkeypatch.setitem(abilities.HALVES, Idle, Half(None, {"dummy": None}))
    for engine in ENGINES:
        assert refusal(engine, after) is None
        assert not changes_or_is_refused(engine, before, after)


def test_no_engine_trains_what_none_knows() -> None:
    with pytest.raises(ConfigError, match=r"no engine can do this: online: .* learner\.dummy; ensemble: "):
        choose_engine(forgetful(0.5))


@each_engine
def test_a_field_of_tasks_that_no_engine_knows_is_refused(engine: str) -> None:
    def change(dummy: float) -> Callable[[int, Task], Task]:
        return lambda seed, task: ForgetfulTask(task.order, task.permutation, dummy=dummy)

    assert refusal(engine, with_tasks(change(0.0))) is None
    assert refusal(engine, with_tasks(change(0.5))) == "it does not know task.dummy"
