"""What each engine refuses: new kinds that it does not know, networks and tasks of a user's own, what does nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from cbp_experiments.engines import choose_engine
from cbp_experiments.engines.abilities import refusal
from cbp_experiments.engines.ensemble import Ensemble
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import OPTIMIZERS, UTILITIES
from cbp_experiments.learners.optimizers import SGD, Updater
from cbp_experiments.networks import ACTIVATIONS, MLP, Activation
from cbp_experiments.streams import Task
from tests.engines.test_fields import CBP, OTHERS, TASK, numbers, tiny, with_tasks
from tests.problems import BP

ForgetfulMLP: Any = make_dataclass("ForgetfulMLP", [("dummy", float, field(default=0.0))], bases=(MLP,), frozen=True)


class Shifted(MLP):
    """A network of a user's own, with other biases."""

    def initial_biases(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        return [bias + 0.1 for bias in super().initial_biases(seed, inputs, classes)]


class Narrow(MLP):
    """Another one, with another shape."""

    def sizes(self, inputs: int, classes: int) -> list[int]:
        return [inputs, self.width, 3, classes]


def test_networks_of_ones_own_are_left_to_the_ensemble() -> None:
    assert refusal("online", tiny(network=ForgetfulMLP(12, 2))) is None
    for network, reason in (
        (ForgetfulMLP(12, 2, dummy=0.5), "network.dummy"),
        (Shifted(12, 2), "initial_biases"),
        (Narrow(12, 2), "sizes"),
    ):
        engine = choose_engine(tiny(network=network))
        assert engine.name == "ensemble"
        assert f"auto, not online: it does not know {reason}" in engine.reason


@dataclass(frozen=True)
class Sign(SGD):
    """An optimizer that somebody adds."""

    def updater(self, parameters: Sequence[torch.Tensor], step_size: float, count_each: bool) -> Updater:
        return Signs(parameters, step_size)


class Signs(Updater):
    def update(self, gradients: Sequence[torch.Tensor]) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.sub_(gradient.sign(), alpha=self.step_size)


def test_a_new_kind_is_left_to_the_engine_that_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And never trains as an old one."""
    monkeypatch.setitem(OPTIMIZERS, "sign", Sign)
    monkeypatch.setitem(ACTIVATIONS, "sine", Activation(torch.sin))
    monkeypatch.setitem(UTILITIES, "beauty", lambda h, mean_activation, incoming, outgoing: -incoming)
    cbp = replace(BP, **CBP)
    for old, new, reason in (
        (tiny(), tiny(replace(BP, optimizer="sign")), "it has no compiled half of Sign (learner)"),
        (tiny(cbp), tiny(replace(cbp, utility="beauty")), "it does not know learner.utility=beauty"),
        (tiny(), tiny(network=MLP(12, 2, "sine")), "it does not know network.activation=sine"),
    ):
        engine = choose_engine(new)
        assert (engine.name, engine.reason) == ("ensemble", f"auto, not online: {reason}")
        assert numbers("ensemble", new) != numbers("ensemble", old)


def test_layer_normalization_is_left_to_the_ensemble() -> None:
    engine = choose_engine(tiny(replace(BP, normalization="layer")))
    assert engine.reason == "auto, not online: it has no compiled half of LayerNormalization (learner)"


# Tasks that are not like the first one.


def new_head(seed: int, task: Task) -> Task:
    return replace(task, new_head=True)


def test_the_second_task_counts_when_an_engine_is_chosen() -> None:
    assert choose_engine(with_tasks(new_head, first=1)).reason == (
        "auto, not online: the tasks begin with a new output layer, which it does not make"
    )


def test_a_later_task_that_the_engine_cannot_do_stops_it() -> None:
    problem = with_tasks(new_head, first=2, tasks=3)
    group = choose_engine(problem).new_group(problem, [0])
    for task in (0, 1):
        assert group.run_task(task, lambda updates: None) != [None]
    with pytest.raises(ConfigError, match="engine=online cannot do task 3: the tasks begin with a new output layer"):
        group.run_task(2, lambda updates: None)


@pytest.mark.parametrize("name", ["permutation", "examples", "tests", "new_head"])
def test_runs_that_advance_together_must_have_tasks_of_one_kind(name: str) -> None:
    problem = with_tasks(lambda seed, task: replace(task, **{name: TASK[name](task)}) if seed == 1 else task)
    with pytest.raises(ConfigError, match="task 1 differs between seeds"):
        Ensemble(problem, [0, 1]).run_task(0, lambda updates: None)
    assert Ensemble(problem, [1]).run_task(0, lambda updates: None) != [None]


def test_a_permutation_that_repeats_a_pixel_is_left_to_the_ensemble() -> None:
    """Which reads pixels, where the online engine moves them."""
    engine = choose_engine(with_tasks(lambda seed, task: replace(task, permutation=np.zeros(20, np.int64))))
    assert (
        engine.reason == "auto, not online: it moves pixels, and the permutation of a task leaves out or repeats some"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("dropout", 0.1), ("normalization", "batch"), ("normalization", "online"), ("replacement_rate", 0.1)],
)
def test_what_works_on_hidden_layers_is_refused_without_any(name: str, value: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"learner.{name}={value} does nothing without hidden layers \(network.depth=0"
    ):
        tiny(replace(BP, **{name: value}), network=MLP(depth=0))


def test_mechanisms_of_ones_own_may_work_without_hidden_layers() -> None:
    learners = BP, replace(BP, others=OTHERS)
    linear, halved = (tiny(learner, network=MLP(depth=0)) for learner in learners)
    assert numbers("ensemble", linear) != numbers("ensemble", halved)


@pytest.mark.parametrize(
    ("row", "label", "message"),
    [
        (50, 0, r"task 1 presents row 50 of 50 images"),
        (-1, 0, "presents row"),
        (3, 4, "has the label 4"),
        (3, -1, "label"),
    ],
)
def test_rows_and_labels_that_are_not_there_are_refused(row: int, label: int, message: str) -> None:
    """The compiled functions do not check: they would read beside their arrays."""
    problem = with_tasks(lambda seed, task: replace(task, order=np.array([*task.order[:-1], row])))
    problem.stream.labels[3] = label
    with pytest.raises(ConfigError, match=message):
        numbers("online", problem)


def test_pixels_and_probes_that_do_not_exist_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    short = with_tasks(lambda seed, task: replace(task, permutation=np.arange(19)))
    with pytest.raises(ConfigError, match="task 1 has a permutation of 19 pixels, and images have 20"):
        numbers("online", short)
    problem = with_tasks(lambda seed, task: task)
    monkeypatch.setattr(problem.stream, "probe", lambda seed, task: np.arange(51))
    with pytest.raises(ConfigError, match="task 1 measures row 50 of 50 images"):
        numbers("online", problem)
