"""Continual ImageNet (paper, Methods): in every task, the learner tells the images of two classes apart."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cbp_experiments.errors import ConfigError
from cbp_experiments.seeding import generator
from cbp_experiments.streams.base import PROBE_EXAMPLES, Examples, Task
from cbp_experiments.streams.image_sources import SOURCES, load_images

PAIRS = ("fresh", "repeated")


@dataclass(frozen=True)
class ContinualImageNet:
    """The stream's configuration: `load` reads the images.

    `source` is "imagenet" (the cache that cbp-prepare-imagenet makes under `root`), "cifar100" (downloaded into `root`
    if missing) or "synthetic" (`synthetic_classes` of them). A task presents the first `train_images` of each of two
    classes, all of them once per epoch, in mini-batches of `batch_size`; the next `test_images` are for testing.
    `pairs`: classes are drawn without replacement. Once all have been presented, they form new pairs ("fresh") or the
    same pairs again ("repeated", as in the published code). Raises ConfigError on a bad value.
    """

    tasks: int
    epochs: int = 250
    batch_size: int = 100
    train_images: int = 600
    test_images: int = 100
    pairs: str = "fresh"
    source: str = "imagenet"
    root: str = "data"
    synthetic_classes: int = 40
    name: str = "continual_imagenet"

    kind: ClassVar[str] = "continual_imagenet"

    def __post_init__(self) -> None:
        for name, choices in (("source", SOURCES), ("pairs", PAIRS)):
            if getattr(self, name) not in choices:
                raise ConfigError(f"data.{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if not self.root.strip():
            raise ConfigError("data.root must name a folder, got nothing; for the current one: data.root=.")
        for name in ("tasks", "epochs", "batch_size", "train_images", "test_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"data.{name} must be at least 1, got {getattr(self, name)}")
        if self.synthetic_classes < 2:
            raise ConfigError(f"data.synthetic_classes must be at least 2, got {self.synthetic_classes}")
        if 2 * self.train_images % self.batch_size:
            raise ConfigError(
                f"data.batch_size={self.batch_size} does not divide the {2 * self.train_images} training images of a "
                f"task (2 x data.train_images); change one of them"
            )

    def load(self) -> "ClassPairs":
        """Read the images. Raises ConfigError if they are missing, damaged or too few."""
        wanted = self.train_images + self.test_images
        found = load_images(self.source, self.root, synthetic_classes=self.synthetic_classes, synthetic_images=wanted)
        classes, images = found.images.shape[:2]
        if classes < 2:
            raise ConfigError(f"Continual ImageNet needs at least 2 classes, and there are {found.description}")
        if images < wanted:
            raise ConfigError(
                f"data.train_images={self.train_images} and data.test_images={self.test_images} are more than the "
                f"{images} images of a class: there are {found.description}; take fewer of them"
            )
        return ClassPairs(
            found.images.reshape(classes, images, -1),
            tasks=self.tasks,
            task_length=2 * self.train_images * self.epochs,
            batch_size=self.batch_size,
            train_images=self.train_images,
            test_images=self.test_images,
            fresh=self.pairs == "fresh",
            checksum=found.checksum,
            description=found.description,
        )


@dataclass(eq=False)
class ClassPairs:
    """A stream of any images sorted by class: `by_class [classes, images, features]`; see `base.Stream`.

    The rows of a task are the training images of its two classes, then their test images. Each task has a new output
    layer.
    """

    by_class: np.ndarray
    tasks: int
    task_length: int
    batch_size: int
    train_images: int
    test_images: int
    fresh: bool = True
    scale: float = 1 / 255
    checksum: str = ""
    description: str = ""
    classes: int = 2

    @property
    def images(self) -> np.ndarray:
        return self.by_class.reshape(-1, self.by_class.shape[2])

    @property
    def labels(self) -> np.ndarray:
        """The class of each image; tasks have their own labels."""
        return np.repeat(np.arange(len(self.by_class)), self.by_class.shape[1])

    def pair(self, seed: int, task: int) -> tuple[int, int]:
        """Return a task's two classes, labelled 0 and 1. With an odd number of classes, each pass leaves one out."""
        number, place = divmod(task, len(self.by_class) // 2)
        drawn = generator(seed, "classes", number if self.fresh else 0).permutation(len(self.by_class))
        return int(drawn[2 * place]), int(drawn[2 * place + 1])

    def task(self, seed: int, task: int) -> Task:
        train, test = 2 * self.train_images, 2 * self.test_images
        parts = (slice(self.train_images), slice(self.train_images, self.train_images + self.test_images))
        images = np.concatenate([self.by_class[label, part] for part in parts for label in self.pair(seed, task)])
        labels = np.repeat([0, 1, 0, 1], [self.train_images] * 2 + [self.test_images] * 2)
        rng = generator(seed, "order", task)
        epochs = -(-self.task_length // train)
        return Task(
            order=np.concatenate([rng.permutation(train) for _ in range(epochs)])[: self.task_length],
            permutation=None,
            examples=Examples(images, labels),
            tests={"accuracy": np.arange(train, train + test), "train_accuracy": np.arange(train)},
            new_head=True,
        )

    def probe(self, seed: int, task: int) -> np.ndarray:
        """The training images of the task, or PROBE_EXAMPLES of them, drawn at random, if there are more."""
        train = 2 * self.train_images
        if train <= PROBE_EXAMPLES:
            return np.arange(train)
        return generator(seed, "probe", task).permutation(train)[:PROBE_EXAMPLES]

    def shortened(self, task_length: int) -> "ClassPairs":
        return replace(self, task_length=task_length)
