"""Images by class, and the memory-mapped cache of them that `cbp-prepare-imagenet` makes.

    imagenet32/classes.json             format, checksum, settings (source, images, filter, Pillow, ...), class names
               images-<checksum>.npy    uint8 `[classes, images, 3, 32, 32]`, red, green and blue; named by the first
                                        8 digits of its sha256

A cache is valid once it has classes.json, which is written last and replaced as a whole. Until then the previous cache,
whose images have another name, is valid.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap, write_array_header_1_0

from cbp_experiments.atomic import replace_file, sync_folder
from cbp_experiments.errors import ConfigError

SIDE = 32
IMAGE_SHAPE = (3, SIDE, SIDE)
FORMAT = 1
INDEX = "classes.json"
COMMAND = "cbp-prepare-imagenet"
LARGE = 1 << 30  # bytes; verifying more can take seconds on slow disks and processors, so a line announces it


@dataclass(frozen=True, eq=False)
class ImageClasses:
    """Images by class, the same number of each.

    `images` uint8 `[classes, images, 3, 32, 32]`, in memory or memory-mapped, read-only; `names` of the classes.
    `description`: a few words for the user; `checksum`: "sha256:...", of the bytes of `images`.
    """

    images: np.ndarray
    names: tuple[str, ...]
    description: str
    checksum: str


def checksum(arrays: Sequence[np.ndarray] | np.ndarray) -> str:
    """Checksum of the bytes of the arrays, one after the other, each in C order: "sha256:..."."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"


def load(folder: str | Path) -> ImageClasses:
    """Memory-map the cache in `folder` and verify its checksum (once per process and file).

    Raises ConfigError if there is no cache or if it is damaged.
    """
    folder = Path(folder).expanduser()
    try:
        index = read_index(folder)
        path = images_path(folder, index["checksum"])
        images = open_memmap(path, "r")
        names = tuple(index["classes"])
        if images.dtype != np.uint8 or images.shape[2:] != IMAGE_SHAPE or not images.flags.c_contiguous:
            raise ValueError(f"{path.name} holds {images.dtype} {list(images.shape)}")
        if len(images) != len(names):
            raise ValueError(f"{len(images)} classes of images, {len(names)} names")
        stamp = os.stat(path)
        if _checksum_of(path, stamp.st_size, stamp.st_mtime_ns) != index["checksum"]:
            raise ValueError(f"wrong checksum of {path.name}")
    except FileNotFoundError as error:
        raise ConfigError(_missing(folder, error)) from error
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"{folder} is not a whole image cache ({_reason(error)}): "
            f"make it again with {COMMAND} SOURCE --output {folder} --force"
        ) from error
    name = index["settings"].get("name", "ImageNet")
    description = f"{len(images) * images.shape[1]:,} {name} images of {len(images)} classes"
    return ImageClasses(images, names, description, index["checksum"])


def read_index(folder: Path) -> dict[str, Any]:
    """Read classes.json. Raises OSError if it cannot be read, ValueError if it is damaged."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ValueError(f"{INDEX} is not of format {FORMAT}")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", str(index.get("checksum"))):
        raise ValueError(f"no checksum in {INDEX}")
    if not isinstance(index.get("settings"), dict):
        raise ValueError(f"no settings in {INDEX}")
    names = index.get("classes")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"no class names in {INDEX}")
    return index


def write(folder: Path, classes: dict[str, np.ndarray], settings: dict[str, Any]) -> ImageClasses:
    """Make the cache in `folder`, or replace the one there; at any moment, either the old or the new one is complete.

    `classes`: name to uint8 `[images, 3, 32, 32]`, all of one shape; `settings`: how they were made, as plain values.
    Raises OSError if the folder cannot be written.
    """
    arrays = list(classes.values())
    digest = checksum(arrays)
    path = images_path(folder, digest)

    def write_images(handle: Any) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(arrays), *arrays[0].shape)}
        write_array_header_1_0(handle, header)
        for array in arrays:
            handle.write(np.ascontiguousarray(array).data)

    replace_file(path, write_images)
    index = {"format": FORMAT, "checksum": digest, "settings": settings, "classes": list(classes)}
    replace_file(folder / INDEX, lambda handle: handle.write((json.dumps(index, indent=1) + "\n").encode()))
    for other in folder.iterdir():
        if re.fullmatch(r"images-[0-9a-f]{8}\.npy", other.name) and other != path:
            other.unlink()
    sync_folder(folder)
    return load(folder)


def images_path(folder: Path, digest: str) -> Path:
    """Path of the images with this checksum."""
    return folder / f"images-{digest.removeprefix('sha256:')[:8]}.npy"


@lru_cache
def _checksum_of(path: Path, size: int, modified: int) -> str:
    """Checksum of the images in the file. Within a process, `size` and `modified` tell one content from another."""
    if size > LARGE:
        print(f"verifying the checksum of {path} ({size / 1e9:.1f} GB)", flush=True)
    return checksum(open_memmap(path, "r"))


def _missing(folder: Path, error: FileNotFoundError) -> str:
    if (folder / INDEX).exists():
        return (
            f"{folder} is not a whole image cache ({Path(error.filename).name} is missing): "
            f"make it again with {COMMAND} SOURCE --output {folder} --force"
        )
    return (
        f"there is no image cache in {folder}: make it with {COMMAND} SOURCE --output {folder} "
        "(docs/data.md says from what), or use data.source=cifar100 or data.source=synthetic"
    )


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
