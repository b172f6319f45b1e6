"""Interface of the engines: they advance a group of runs task by task and return a row of metrics per run."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Learner
from cbp_experiments.metrics.measurements import Measurements
from cbp_experiments.networks import Architecture
from cbp_experiments.streams import CROSS_ENTROPY, Objective, Stream, examples_of, lengths

Row = dict[str, float]
State = dict[str, np.ndarray]
# Called with the number of updates just made. True asks the engine to pause; it may raise to abandon the task.
Progress = Callable[[int], bool | None]
PIECE_SECONDS = 0.2  # of training between two calls of progress, after which a run can be saved


@dataclass(frozen=True)
class EngineOptions:
    """The keys of conf/engine."""

    name: str = "auto"
    device: str = "auto"
    dtype: str = "float32"
    workers: int = 0
    graph: str = "auto"

    kind: ClassVar[str] = "engine"

    def __post_init__(self) -> None:
        if self.name not in ("auto", "online", "ensemble"):
            raise ConfigError(f"engine must be auto, online or ensemble, got {self.name!r}")
        if self.dtype not in ("float32", "float64"):
            raise ConfigError(f"engine.dtype must be float32 or float64, got {self.dtype!r}")
        if self.graph not in ("auto", "off"):
            raise ConfigError(f"engine.graph must be auto (a CUDA graph on a GPU) or off, got {self.graph!r}")
        if self.workers < 0:
            raise ConfigError(f"engine.workers must be 0 (one a core) or more, got {self.workers}")


@dataclass(frozen=True)
class Problem:
    """Everything an engine needs to make runs: the parts of a job that are the same for every seed."""

    stream: Stream
    network: Architecture
    learner: Learner
    measurements: Measurements
    options: EngineOptions

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_stream()
        self.bounds()  # raises if the network cannot take these inputs
        if self.network.depth == 0:
            self._check_without_hidden_layers()
        if (normalization := self.learner.chosen_normalization) and normalization.minibatches:
            self._check_minibatches()

    def _check_stream(self) -> None:
        """Check what a user's own stream may get wrong: its objective, the size of its targets, its lengths."""
        stream, labels, spans = self.stream, self.stream.labels, lengths(self.stream)
        if not isinstance(self.objective, Objective):
            raise ConfigError(
                f"the stream's objective must be CROSS_ENTROPY or SQUARED of cbp_experiments.streams, "
                f"got {self.objective!r}"
            )
        if len(spans) != stream.tasks or max(spans) != stream.task_length or min(spans) < 1:
            raise ConfigError(
                f"the stream's lengths must be {stream.tasks} numbers from 1 on (one a task), the largest of them "
                f"task_length={stream.task_length}, got {len(spans)} from {min(spans)} to {max(spans)}"
            )
        if self.objective != CROSS_ENTROPY and labels[:1].size != stream.classes * len(labels[:1]):
            raise ConfigError(
                f"the stream has {labels[:1].size} numbers a target, and the network {stream.classes} outputs "
                "(classes); they must be as many"
            )

    def _check_sizes(self) -> None:
        """Refuse values that the dtype of the networks cannot hold."""
        values = {"learner.step_size": self.learner.step_size}
        for prefix, part in self.learner.parts:
            values |= {f"{prefix}{key.name}": getattr(part, key.name) for key in fields(part)}
        for name, value in values.items():
            if isinstance(value, float) and value > torch.finfo(self.dtype).max:
                raise ConfigError(f"{name}={value} is more than {self.dtype} can hold")

    def _check_without_hidden_layers(self) -> None:
        """Refuse what works on hidden layers, because it would do nothing."""
        useless: list[tuple[str, Any, Any]] = []
        if self.learner.chosen_normalization:
            useless.append(("normalization", self.learner.normalization, "none"))
        for mechanism in self.learner.mechanisms:
            if mechanism.needs_units and (key := mechanism.switch):
                useless.append((key, getattr(mechanism, key), 0.0))
            elif mechanism.needs_units:
                raise ConfigError(f"{type(mechanism).__name__} does nothing without hidden layers; set network.depth=3")
        for key, value, off in useless:
            raise ConfigError(
                f"learner.{key}={value} does nothing without hidden layers (network.depth=0, as learner=linear "
                f"has it); set learner.{key}={off} or network.depth=3"
            )

    def _check_minibatches(self) -> None:
        """Refuse mini-batches of one example: statistics need at least two."""
        size = self.stream.batch_size
        if size == 1:
            raise ConfigError("batch normalization needs mini-batches: data.batch_size=... or learner=onlinenorm")
        for length in set(lengths(self.stream)):
            if length % size != 1:
                continue
            raise ConfigError(
                f"batch normalization cannot learn from one example, which data.batch_size={size} leaves over of "
                f"data.task_length={length}; change one of them"
            )

    @property
    def objective(self) -> Objective:
        """The stream's objective; cross-entropy if it has none."""
        return getattr(self.stream, "objective", CROSS_ENTROPY)

    @property
    def inputs(self) -> int:
        return self.stream.images.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.options.dtype]

    def initial_weights(self, seed: int) -> list[np.ndarray]:
        return self.network.initial_weights(seed, self.inputs, self.stream.classes)

    def initial_biases(self, seed: int) -> list[np.ndarray]:
        return self.network.initial_biases(seed, self.inputs, self.stream.classes)

    def bounds(self) -> list[float]:
        return self.network.bounds(self.inputs, self.stream.classes)

    def weight_bytes(self) -> int:
        """Memory of one run's weights."""
        return self.dtype.itemsize * self.network.weight_count(self.inputs, self.stream.classes)


class Group(Protocol):
    """Runs that advance together. A group is used by one thread at a time."""

    seeds: list[int]

    def run_task(self, task: int, progress: Progress) -> list[Row | None]:
        """Learn task `task` (from 0). Returns a row of metrics for each seed, None for a run that has diverged.

        `progress` is called about every PIECE_SECONDS. If it asks for a pause before the end of the task, the result is
        an empty list: `state` can then be saved, and the next call with the same `task` continues.
        """

    def state(self, run: int) -> State:
        """Return a copy of everything that run `seeds[run]` needs to continue, after a task or at a pause within one.

        Its array `position` is the number of examples of the task learned so far, 0 between tasks.
        """

    def load(self, run: int, state: State) -> None:
        """Continue from a result of `state`; the runs of a group must have the same position.

        Raises ValueError or KeyError if the state does not fit this run: names, shapes or types differ.
        """


def check_state(state: State, expected: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> None:
    """Raise ValueError unless `state` has the names, shapes and types of `expected`."""
    if state.keys() != expected.keys():
        raise ValueError(f"it differs in {', '.join(sorted(state.keys() ^ expected.keys()))}")
    for name, (shape, dtype) in expected.items():
        array = state[name]
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, not {dtype} {list(shape)}")


def as_array(content: Any) -> np.ndarray:
    """Encode plain values as JSON in a uint8 array, for a checkpoint."""
    return np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)


def from_array(array: np.ndarray) -> Any:
    """Decode the result of `as_array`. Raises ValueError."""
    return json.loads(array.tobytes())


def task_row(problem: Problem, task: int, scores: Mapping[str, float], loss: float, measured: Row) -> Row:
    """One row of metrics.csv. `scores` and `loss` are means over examples, `measured` the metrics before the task."""
    written = {name: problem.objective.score.factor * score for name, score in scores.items()}
    return {"task": task + 1, "examples": examples_of(problem.stream, task + 1), **written, "loss": loss, **measured}
