"""What each engine can do. It refuses everything else with a reason, so that nothing trains as something else.

A table has, for each part of a problem, the fields that the engine reads; for a field that names a kind of something,
also the kinds that it knows. A field that is not listed must have its default. The ensemble has no table of networks:
each brings its own arithmetic (networks.StackedNetwork).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

import numpy as np

from cbp_experiments.engines.base import Problem
from cbp_experiments.engines.compiled import structures
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import NORMALIZATIONS, OPTIMIZERS, UTILITIES, Learner
from cbp_experiments.networks import MLP, Architecture
from cbp_experiments.streams import Stream, Task

Table = Mapping[type, Mapping[str, Collection[str] | None]]  # None: any value

# What both read of a learner. Its name is for people.
SHARED: dict[str, Collection[str] | None] = dict.fromkeys(
    (
        *("name", "step_size", "beta1", "beta2", "epsilon", "weight_decay", "perturbation_std", "dropout"),
        *("normalization_decay", "normalization_backward_decay", "normalization_epsilon", "reset_normalization"),
        *("replacement_rate", "maturity_threshold", "decay_rate", "reset_momentum"),
    )
)
TABLES: dict[str, Table] = {
    "ensemble": {
        Learner: SHARED
        | {"optimizer": OPTIMIZERS, "normalization": NORMALIZATIONS, "utility": UTILITIES}
        | {"momentum": None, "mechanisms": None},
        Task: dict.fromkeys(["order", "permutation", "examples", "tests", "new_head"]),
    },
    "online": {
        Learner: SHARED
        | {"optimizer": ("sgd", "adam"), "normalization": ("none", "online"), "utility": structures.UTILITIES},
        MLP: {"width": None, "depth": None, "activation": structures.ACTIVATIONS},
        Task: dict.fromkeys(["order", "permutation"]),
    },
}
# Why the online engine cannot do what people may well want of it.
REASONS = {
    "momentum": "momentum moves every weight at every update, so that no row could be skipped",
    "mechanisms": "it cannot compile mechanisms of your own (learner.mechanisms)",
    "normalization=batch": "batch normalization takes the statistics of a mini-batch, and it has one example at a time",
    "examples": "the tasks have images of their own, and it makes the stream's sparse once for all of them",
    "tests": "the tasks have test images, and it predicts only what it learns from",
    "new_head": "the tasks begin with a new output layer, which it does not make",
}


def refusal(engine: str, problem: Problem) -> str | None:
    """Why the engine (online or ensemble) cannot train this problem, or None if it can.

    Of the stream it sees the first two tasks of seed 0; `check_tasks` sees each task when its turn comes.
    """
    return next(_reasons(engine, problem), None)


def check_tasks(engine: str, number: int, tasks: Sequence[Task]) -> None:
    """Raises ConfigError if the engine cannot do the tasks of this `number` (from 0), one of each run in a group."""
    for task in tasks:
        for reason in _unknown_in_task(engine, task):
            raise ConfigError(f"engine={engine} cannot do task {number + 1}: {reason}; take another engine")
    kinds = {(task.permutation is None, task.examples is None, task.new_head, *task.tests) for task in tasks}
    if len(kinds) > 1:  # the first run's would count for all
        raise ConfigError(
            f"task {number + 1} differs between seeds in what it has (permutation, examples, new_head, tests), and "
            f"engine={engine} trains them together; train each seed by itself (seeds=[0], then seeds=[1], ...)"
        )


def check_rows(stream: Stream, number: int, task: Task) -> None:
    """Raises ConfigError if a task names images that are not there, or labels that are not classes.

    The compiled functions do not look: they would read and write beside their arrays.
    """
    rows = task.order
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(stream.labels):
        raise ConfigError(f"task {number + 1} presents row {rows.max()} of {len(stream.labels)} images (from 0)")
    labels = stream.labels[rows]
    if len(rows) and not 0 <= labels.min() <= labels.max() < stream.classes:
        raise ConfigError(f"task {number + 1} has the label {labels.max()}, and there are {stream.classes} (from 0)")


def _reasons(engine: str, problem: Problem) -> Iterator[str]:
    if engine == "online":
        yield from _unknown_in_network(problem.network)
    yield from unknown(TABLES[engine][Learner], problem.learner, "learner")
    if engine == "online":
        yield from _what_is_not_online(problem)
    for number in range(min(2, problem.stream.tasks)):
        yield from _unknown_in_task(engine, problem.stream.task(0, number))


def _unknown_in_network(network: Architecture) -> Iterator[str]:
    """What the online engine, which has networks of its own, does not take over from this one."""
    if not isinstance(network, MLP):
        yield "it knows fully connected networks only"
        return
    yield from unknown(TABLES["online"][MLP], network, "network")
    for method in ("stack", "initial_biases"):
        if getattr(type(network), method) is not getattr(MLP, method):
            yield f"it does not know {method} of {type(network).__name__}"


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
    yield from unknown(TABLES[engine][Task], task, "task")
    if engine == "online" and task.permutation is not None and (np.bincount(task.permutation) != 1).any():
        yield "it moves pixels, and the permutation of a task leaves out or repeats some"


def unknown(known: Mapping[str, Collection[str] | None], part: Any, prefix: str) -> Iterator[str]:
    """What `part`, a dataclass, has set that an engine does not know: a reason for each."""
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name in known:
            kinds = known[field.name]
            if kinds is not None and value not in kinds:
                named = f"{field.name}={value}"
                yield REASONS.get(named, f"it does not know {prefix}.{named}")
        elif not _is_neutral(field, value):
            yield REASONS.get(field.name, f"it does not know {prefix}.{field.name}")


def _is_neutral(field: Field[Any], value: Any) -> bool:
    default: Any = field.default if field.default_factory is MISSING else field.default_factory()
    return np.array_equal(value, default) or (not default and isinstance(value, dict) and not value)  # {} is none
