"""Sources of images: a source lists its classes, and makes the images of some of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from cbp_experiments.errors import ConfigError
from cbp_experiments.preparing import processes
from cbp_experiments.preparing.classes import ImageClass
from cbp_experiments.preparing.pictures import BrokenImage


@dataclass
class Contents:
    """The number of images in each class, by name, in the order of the classes. ignored: other files, by kind."""

    counts: dict[str, int]
    ignored: Counter[str] = field(default_factory=Counter)


@dataclass
class Made:
    """The first images of a class, uint8 `[n, 3, 32, 32]`; n is smaller than requested if there are no more.

    broken: a line for each image that was left out.
    """

    name: str
    pixels: np.ndarray
    broken: list[str] = field(default_factory=list)


class Source(Protocol):
    """A source of images; `kind` says what it is in a few words."""

    kind: str

    def contents(self, workers: int) -> Contents:
        """List everything, decode nothing. Raises ConfigError if something is truncated."""

    def make(self, names: Sequence[str], images: int, skip_broken: bool, workers: int) -> Iterator[Made]:
        """Make the first `images` images of the classes `names`, in any order of the classes.

        Raises ConfigError on a broken image unless `skip_broken`.
        """


@dataclass
class ClassSource:
    """Classes that can be read one by one, in parallel processes."""

    kind: str
    classes: Sequence[ImageClass]
    ignored: Counter[str] = field(default_factory=Counter)

    def contents(self, workers: int) -> Contents:
        listed = dict(processes.each(count, self.classes, workers))
        ignored = sum((listed[each.name][1] for each in self.classes), self.ignored.copy())
        return Contents({each.name: listed[each.name][0] for each in self.classes}, ignored)

    def make(self, names: Sequence[str], images: int, skip_broken: bool, workers: int) -> Iterator[Made]:
        wanted = set(names)
        classes = [each for each in self.classes if each.name in wanted]
        return processes.each(partial(make, images=images, skip_broken=skip_broken), classes, workers)


def count(image_class: ImageClass) -> tuple[str, tuple[int, Counter[str]]]:
    """Return the name of the class, the number of its images, and what is ignored."""
    with image_class.opened() as listing:
        return image_class.name, (len(listing.names), listing.ignored)


def make(image_class: ImageClass, images: int, skip_broken: bool) -> Made:
    """Make the first `images` images of the class, by name; with `skip_broken`, the next one replaces a broken one."""
    pixels: list[np.ndarray] = []
    broken = []
    with image_class.opened() as listing:
        for name in listing.names:
            if len(pixels) == images:
                break
            try:
                pixels.append(listing.read(name))
            except BrokenImage as error:
                line = f"{image_class.place}: {name} is broken ({error})"
                if not skip_broken:
                    raise ConfigError(f"{line}: fix it, or leave such images out with --skip-broken") from error
                broken.append(line)
    return Made(image_class.name, np.array(pixels, np.uint8), broken)
