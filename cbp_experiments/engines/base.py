"""What an engine is: it advances a group of runs task by task, and hands back a row of metrics a run."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Learner
from cbp_experiments.measurements import Measurements
from cbp_experiments.networks import MLP
from cbp_experiments.seeding import generator
from cbp_experiments.streams import Stream

Row = dict[str, float]
State = dict[str, np.ndarray]
Progress = Callable[[int], None]  # called with the number of updates just made; may raise to stop the training
GeneratorOf = Callable[[int, str, int], np.random.Generator]


@dataclass(frozen=True)
class EngineOptions:
    """The keys of conf/engine."""

    name: str = "auto"
    device: str = "auto"
    dtype: str = "float32"
    workers: int = 0

    def __post_init__(self) -> None:
        if self.name not in ("auto", "online", "ensemble"):
            raise ConfigError(f"engine must be auto, online or ensemble, got {self.name!r}")
        if self.dtype not in ("float32", "float64"):
            raise ConfigError(f"engine.dtype must be float32 or float64, got {self.dtype!r}")
        if self.workers < 0:
            raise ConfigError(f"engine.workers must be 0 (one a core) or more, got {self.workers}")


@dataclass(frozen=True)
class Problem:
    """All that an engine needs to make runs: the parts of a job that are the same for every seed."""

    stream: Stream
    network: MLP
    learner: Learner
    measurements: Measurements
    options: EngineOptions
    generator: GeneratorOf = generator

    @property
    def inputs(self) -> int:
        return self.stream.images.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.options.dtype]

    def initial_weights(self, seed: int) -> list[np.ndarray]:
        return self.network.initial_weights(seed, self.inputs, self.stream.classes)

    def bounds(self) -> list[float]:
        return self.network.bounds(self.inputs, self.stream.classes)

    def weight_bytes(self) -> int:
        """Memory of one run's weights."""
        sizes = self.network.sizes(self.inputs, self.stream.classes)
        return self.dtype.itemsize * sum(a * b for a, b in pairwise(sizes))


class Group(Protocol):
    """Runs that advance together. A group is used by one thread at a time."""

    seeds: list[int]

    def run_task(self, task: int, progress: Progress) -> list[Row | None]:
        """Learn task `task` (from 0): a row of metrics for each seed; None for a run that has diverged."""

    def state(self, run: int) -> State:
        """A copy of all that the run `seeds[run]` needs to go on after the last task."""

    def load(self, run: int, state: State) -> None:
        """Go on from a state that `state` gave."""


def task_row(stream: Stream, task: int, correct: float, loss: float, measured: Row) -> Row:
    """One row of metrics.csv; `correct` and `loss` are means over the examples of the task."""
    examples = (task + 1) * stream.task_length
    return {"task": task + 1, "examples": examples, "accuracy": 100 * correct, "loss": loss, **measured}
