"""What each engine can do. It refuses everything else with a reason, so that no setting is silently ignored.

For each part of a problem, a table lists the fields that the engine reads; if a field names a kind, also the kinds that
the engine knows. A field that is not listed must have its default. The ensemble engine has no tables of networks and of
parts of learners, because these bring their own arithmetic (networks.StackedNetwork, learners.Actor).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

import numpy as np

from cbp_experiments.engines.base import Problem
from cbp_experiments.engines.compiled import structures
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Dropout, Learner, Part, Perturbation, UnitReplacement, WeightDecay
from cbp_experiments.learners.normalizations import OnlineNormalization
from cbp_experiments.learners.optimizers import SGD, Adam
from cbp_experiments.networks import MLP, Architecture
from cbp_experiments.streams import CROSS_ENTROPY, Task, lengths

Known = Mapping[str, Collection[str] | None]  # fields; None: any value

TASK: dict[str, Known] = {
    "ensemble": dict.fromkeys(("order", "permutation", "examples", "tests", "new_head")),
    "online": dict.fromkeys(("order", "permutation")),
}


@dataclass(frozen=True)
class Half:
    """The compiled half of a part: a module of engines/compiled, or None if another part's module does the work.

    The module is imported when the online engine is used. Its `build` makes the arrays of a run from the part, the
    learner and the network, and it registers the part's functions for the kernel (compiled/hooks.py).
    """

    module: str | None
    reads: Known
    magnitudes: bool = False  # it uses the sums of |w| of each unit
    all_weights: bool = False  # it uses all weights after every update, so that no row may wait until it is read
    changes_weights: bool = False  # it changes weights itself, without resetting whole units
    resets_units: bool = False


# The parts that the online engine has compiled.
HALVES: dict[type[Part], Half] = {
    SGD: Half("sgd", {}),
    Adam: Half("adam", dict.fromkeys(("beta1", "beta2", "epsilon"))),
    OnlineNormalization: Half(
        "normalizing",
        dict.fromkeys(("normalization_decay", "normalization_backward_decay", "normalization_epsilon")),
    ),
    Dropout: Half("dropout", {"dropout": None}),
    WeightDecay: Half(None, {"weight_decay": None}),  # in the optimizers
    Perturbation: Half("noise", {"perturbation_std": None}, changes_weights=True),
    UnitReplacement: Half(
        "replacing",
        dict.fromkeys(("replacement_rate", "maturity_threshold", "decay_rate", "reset_momentum", "reset_normalization"))
        | {"utility": structures.UTILITIES},
        magnitudes=True,
        all_weights=True,
        resets_units=True,
    ),
}
NEUTRAL = {key.name: key.default for key in fields(Learner)}
OBJECTIVES = ("cross_entropy", "squared_error")  # both engines
NETWORK: Known = {"width": None, "depth": None, "activation": structures.ACTIVATIONS}
MAY_DIFFER = ("kind", "describe", "bounds", "initial_weights")  # what a network derived from MLP may change
# Why the online engine cannot do some things that users are likely to want.
REASONS = {
    "momentum": "momentum moves every weight at every update, so that no row could be skipped",
    "optimizer_state": "it has compiled what the published runs do with the optimizer's state of a unit, and no option",
    "BatchNormalization": "batch normalization takes the statistics of a mini-batch, and it has one example at a time",
    "examples": "the tasks have images of their own, and it makes the stream's sparse once for all of them",
    "tests": "the tasks have test images, and it predicts only what it learns from",
    "new_head": "the tasks begin with a new output layer, which it does not make",
}


def refusal(engine: str, problem: Problem) -> str | None:
    """Return why the engine (online or ensemble) cannot train this problem, or None if it can.

    It looks at the stream's first two tasks of seed 0; `check_tasks` looks at each task before it is trained.
    """
    return next(_reasons(engine, problem), None)


def check_tasks(engine: str, problem: Problem, number: int, tasks: Sequence[Task]) -> None:
    """Raise ConfigError if the engine cannot do task `number` (from 0). tasks: that of each run in a group."""
    for task in tasks:
        for reason in _unknown_in_task(engine, task):
            raise ConfigError(f"engine={engine} cannot do task {number + 1}: {reason}; take another engine")
    expected = lengths(problem.stream)[number]
    if wrong := [len(task.order) for task in tasks if len(task.order) != expected]:
        raise ConfigError(f"task {number + 1} presents {wrong[0]} examples, and the stream says {expected}")
    kinds = {(task.permutation is None, task.examples is None, task.new_head, *task.tests) for task in tasks}
    if len(kinds) > 1:  # the first run's would be taken for all
        raise ConfigError(
            f"task {number + 1} differs between seeds in what it has (permutation, examples, new_head, tests), and "
            f"engine={engine} trains them together; train each seed by itself (seeds=[0], then seeds=[1], ...)"
        )


def check_rows(problem: Problem, number: int, task: Task) -> None:
    """Raise ConfigError if a task names images or pixels that do not exist, or labels that are not classes.

    The compiled functions do not check this: they would read and write outside their arrays.
    """
    stream, rows = problem.stream, task.order
    check_images(problem, number, rows, "presents")
    if task.permutation is not None and len(task.permutation) != problem.inputs:
        raise ConfigError(
            f"task {number + 1} has a permutation of {len(task.permutation)} pixels, and images have {problem.inputs}"
        )
    if problem.objective != CROSS_ENTROPY:
        return
    labels = stream.labels[rows]
    if len(rows) and not 0 <= labels.min() <= labels.max() < stream.classes:
        raise ConfigError(f"task {number + 1} has the label {labels.max()}, and there are {stream.classes} (from 0)")


def check_images(problem: Problem, number: int, rows: np.ndarray, does: str) -> None:
    """Raise ConfigError if these rows of the stream's images do not exist. does: what the task does with them."""
    images = len(problem.stream.labels)
    if len(rows) and not 0 <= rows.min() <= rows.max() < images:
        raise ConfigError(f"task {number + 1} {does} row {rows.max()} of {images} images (from 0)")


def _unknown_objective(problem: Problem) -> Iterator[str]:
    if problem.objective.name not in OBJECTIVES:
        yield f"it does not know the objective {problem.objective.name}"


def _reasons(engine: str, problem: Problem) -> Iterator[str]:
    if engine == "online":
        yield from _unknown_in_network(problem.network)
    yield from _unknown_in_learner(problem.learner)
    yield from _unknown_objective(problem)
    if engine == "online":
        yield from _parts_without_compiled_half(problem.learner)
        yield from _what_is_not_online(problem)
    for number in range(min(2, problem.stream.tasks)):
        yield from _unknown_in_task(engine, problem.stream.task(0, number))


def _unknown_in_learner(learner: Learner) -> Iterator[str]:
    """Reasons for the fields that a class derived from Learner adds and sets."""
    yield from unknown(dict.fromkeys(key.name for key in fields(Learner)), learner, "learner.")


def _parts_without_compiled_half(learner: Learner) -> Iterator[str]:
    for prefix, part in learner.parts:
        name = type(part).__name__
        if type(part) in HALVES:
            yield from unknown(HALVES[type(part)].reads, part, prefix, neutral=NEUTRAL)
        else:
            yield REASONS.get(name, f"it has no compiled half of {name} ({prefix.rstrip('.')})")


def _unknown_in_network(network: Architecture) -> Iterator[str]:
    """Reasons for what the online engine, which has its own networks, does not take over from this one."""
    if not isinstance(network, MLP):
        yield "it knows fully connected networks only"
        return
    yield from unknown(NETWORK, network, "network.")
    for name in (name for name in vars(MLP) if not name.startswith("_") and name not in MAY_DIFFER):
        if getattr(type(network), name) is not getattr(MLP, name) and name not in (key.name for key in fields(MLP)):
            yield f"it does not know {name} of {type(network).__name__}"


def _what_is_not_online(problem: Problem) -> Iterator[str]:
    learner = problem.learner
    if problem.stream.batch_size != 1:
        yield f"it learns from one example at a time, and data.batch_size is {problem.stream.batch_size}"
    if problem.options.device not in ("auto", "cpu"):
        yield f"it runs on the CPU, and engine.device is {problem.options.device}"
    keeps_gains = learner.replacement_rate and learner.normalization == "online" and not learner.reset_normalization
    if keeps_gains and learner.optimizer == "adam":
        yield "a unit's gain shares its count of Adam's updates, and learner.reset_normalization=false parts the two"


def _unknown_in_task(engine: str, task: Task) -> Iterator[str]:
    yield from unknown(TASK[engine], task, "task.")
    if engine == "online" and task.permutation is not None and (np.bincount(task.permutation) != 1).any():
        yield "it moves pixels, and the permutation of a task leaves out or repeats some"


def unknown(known: Known, part: Any, prefix: str, neutral: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Yield a reason for each field of the dataclass `part` that is set and that the engine does not know.

    neutral: for fields without a default, the values that change nothing.
    """
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name in known:
            kinds = known[field.name]
            if kinds is not None and value not in kinds:
                named = f"{field.name}={value}"
                yield REASONS.get(named, f"it does not know {prefix}{named}")
        elif not _is_neutral(field, value, neutral or {}):
            yield REASONS.get(field.name, f"it does not know {prefix}{field.name}")


def _is_neutral(field: Field[Any], value: Any, neutral: Mapping[str, Any]) -> bool:
    default: Any = field.default if field.default_factory is MISSING else field.default_factory()
    default = neutral.get(field.name) if default is MISSING else default
    return np.array_equal(value, default) or (not default and isinstance(value, dict) and not value)  # {} is not set
