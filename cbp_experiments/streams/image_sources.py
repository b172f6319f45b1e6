"""Images by class for Continual ImageNet: the cache of ImageNet, CIFAR-100, or synthetic ones."""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cbp_experiments.errors import ConfigError
from cbp_experiments.seeding import generator
from cbp_experiments.streams import image_cache, plain_pickle
from cbp_experiments.streams.downloads import download, one_line
from cbp_experiments.streams.image_cache import IMAGE_SHAPE, SIDE, ImageClasses

SOURCES = ("imagenet", "cifar100", "synthetic")
CACHE_FOLDER = "imagenet32"
CIFAR100_FOLDER, CIFAR100_ARCHIVE = "cifar-100-python", "cifar-100-python.tar.gz"
# md5 of the files as published; torchvision has the same.
CIFAR100_FILES = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
SYNTHETIC_SEED = 0  # for the images, whatever the run's seed: they are a data set, not part of the run
GRID = 8  # cells along a side of the random fields that synthetic images are made of


def load_images(
    source: str, root: str | Path, *, synthetic_classes: int = 40, synthetic_images: int = 700
) -> ImageClasses:
    """Load the images of a source. Raises ConfigError for an unknown source and for missing or damaged data.

    `source` is "imagenet" (the cache root/imagenet32), "cifar100" (in `root`, downloaded if missing) or "synthetic"
    (made without files, in the sizes given).
    """
    if source == "imagenet":
        return image_cache.load(Path(root) / CACHE_FOLDER)
    if source == "cifar100":
        return cifar100(root)
    if source == "synthetic":
        return synthetic(synthetic_classes, synthetic_images)
    raise ConfigError(f"data.source must be one of {', '.join(SOURCES)}, got {source!r}")


def cifar100(root: str | Path, md5: Mapping[str, str] = CIFAR100_FILES) -> ImageClasses:
    """Load CIFAR-100: 100 classes, each with its 500 training images as published, then its 100 test images.

    They are read from torchvision's folder under `root`, or else from the published archive, which is downloaded into
    `root` if missing. `md5`: names and checksums of the files with the training images, the test images and the class
    names.
    """
    root = Path(root).expanduser()
    contents = _cifar100_contents(root, md5)
    try:
        train, test, meta = (plain_pickle.loads(content) for content in contents.values())
        names = tuple(meta["fine_label_names"])
        images = np.concatenate([_by_class(part, len(names)) for part in (train, test)], axis=1)
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"CIFAR-100 in {root} has another form than published ({one_line(error)})") from error
    images.flags.writeable = False
    description = f"{images.shape[0] * images.shape[1]:,} CIFAR-100 images of {len(names)} classes"
    return ImageClasses(images, names, description, image_cache.checksum(images))


def synthetic(classes: int = 40, images: int = 700) -> ImageClasses:
    """Make images of smooth random patterns, one pattern per class.

    In each image, the pattern is shifted at random (it wraps around the edges), and other random patterns and noise are
    added. Two classes can be learned, but a linear learner does not get all images right.

    A class does not depend on the number of classes. The images are made with integers only, so that their bytes are
    the same on every machine. Raises ConfigError with fewer than two classes, without images, or if they need too much
    memory.
    """
    if classes < 2 or images < 1:
        raise ConfigError(f"synthetic images need at least 2 classes and 1 image, got {classes} and {images}")
    size, memory = classes * images * prod(IMAGE_SHAPE), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory / 4:  # making and permuting them takes as much again, and more
        raise ConfigError(
            f"{classes} classes of {images:,} synthetic images are {size / 1e9:.1f} GB, too much for a memory of "
            f"{memory / 1e9:.0f} GB: take fewer data.train_images or data.synthetic_classes"
        )
    made = np.empty((classes, images, *IMAGE_SHAPE), np.uint8)
    for label in range(classes):
        made[label] = _synthetic_class(label, images)
    made.flags.writeable = False
    names = tuple(f"pattern {label}" for label in range(classes))
    description = f"{classes * images:,} synthetic images of {classes} classes"
    return ImageClasses(made, names, description, image_cache.checksum(made))


def _synthetic_class(label: int, images: int) -> np.ndarray:
    rng = generator(SYNTHETIC_SEED, "synthetic images", label)
    pattern = _smooth_fields(rng, 1)[0]
    pixels = np.arange(SIDE)
    rows, columns = (pixels + rng.integers(0, SIDE, (2, images, 1))) % SIDE
    shifted = pattern[:, rows[:, :, None], columns[:, None, :]].transpose(1, 0, 2, 3)
    noise = rng.integers(-30, 31, (images, *IMAGE_SHAPE), dtype=np.int16)
    return np.clip(128 + 2 * shifted + 5 * _smooth_fields(rng, images) // 4 + noise, 0, 255).astype(np.uint8)


def _smooth_fields(rng: np.random.Generator, number: int) -> np.ndarray:
    """Values in -64 to 64, random on a GRID x GRID grid, interpolated around the edges: int16 `[number, 3, 32, 32]`."""
    field = rng.integers(-64, 65, (number, 3, GRID, GRID), dtype=np.int16)
    cell = SIDE // GRID
    for axis in (2, 3):
        following = np.roll(field, -1, axis)
        between = [((cell - step) * field + step * following) // cell for step in range(cell)]
        shape = list(field.shape)
        shape[axis] = SIDE
        field = np.stack(between, axis + 1).reshape(shape)
    return field


def _by_class(part: Mapping[str, Any], classes: int) -> np.ndarray:
    """The images of a CIFAR file by class, uint8 `[classes, images, 3, 32, 32]`, in the order of the file."""
    data, labels = part["data"], np.asarray(part["fine_labels"])
    numbers = np.bincount(labels, minlength=classes)
    if len(data) != len(labels) or len(numbers) != classes or len(set(numbers)) != 1:
        raise ValueError("not equally many images of each class")
    if data.dtype != np.uint8:
        raise ValueError(f"pixels of {data.dtype}")
    return data[np.argsort(labels, kind="stable")].reshape(classes, -1, *IMAGE_SHAPE)


def _cifar100_contents(root: Path, md5: Mapping[str, str]) -> dict[str, bytes]:
    """Read the files that `md5` names: unpacked if all are there, otherwise from the archive."""
    source = root / CIFAR100_FOLDER
    unpacked = all(os.path.isfile(source / name) for name in md5)
    if not unpacked:
        source = root / CIFAR100_ARCHIVE
        if not os.path.isfile(source):
            _download_cifar100(source, root)
    try:
        contents = _unpacked(source, md5) if unpacked else _packed(source, md5)
        for name, content in contents.items():
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5[name]:
                raise ValueError(f"wrong checksum of {name}")
    except (OSError, EOFError, KeyError, ValueError, zlib.error, tarfile.TarError) as error:
        raise ConfigError(
            f"{source} is not CIFAR-100 as published ({one_line(error)}): delete it and run again to download it again"
        ) from error
    return contents


def _unpacked(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def _packed(archive: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Read the files straight from the archive, without unpacking it to disk."""
    contents = {}
    with tarfile.open(archive, "r:gz") as tar:
        for name in names:
            member = tar.extractfile(f"{CIFAR100_FOLDER}/{name}")
            if member is None:
                raise ValueError(f"{name} is no plain file")
            contents[name] = member.read()
    return contents


def _download_cifar100(archive: Path, root: Path) -> None:
    def addresses() -> tuple[list[str], str]:
        from torchvision.datasets import CIFAR100

        return [CIFAR100.url], CIFAR100.tgz_md5

    download(
        archive,
        addresses,
        missing=f"CIFAR-100's {archive.name} is not in data.root={root}",
        put=f"put it into {root}",
        instead="use data.source=synthetic",
    )
