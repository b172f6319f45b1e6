"""Finds the classes below a folder that holds none."""

import os
import re
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from cbp_experiments.preparing import batches
from cbp_experiments.preparing.packed import is_packed
from cbp_experiments.preparing.pictures import no_image, system_folder

TRAINING = {"train", "training"}
SPLITS = TRAINING | {"val", "valid", "validation", "test"}
IMAGES = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
FOLDERS = 1000  # how many are searched at most


def visible(folder: Path) -> tuple[list[Path], Counter[str]]:
    """List a folder, sorted; also count what is left out, by kind: hidden entries and system folders."""
    ignored: Counter[str] = Counter()
    entries = []
    for entry in sorted(folder.iterdir()):
        if system_folder(entry.name):
            ignored["system folder"] += 1
        elif entry.name.startswith("."):
            ignored["hidden"] += 1
        else:
            entries.append(entry)
    return entries, ignored


def splits(names: Sequence[str]) -> list[str]:
    """Select the names of splits of a data set, not of classes: train and val, or train_images and val_images.

    A class may have such a word in its name (bullet_train), but not half of the classes do.
    """
    marked = [name for name in names if _words(name) & SPLITS]
    if len(marked) < 2 or 2 * len(marked) < len(names):
        marked = [name for name in marked if name.lower() in SPLITS]
    return sorted(marked, key=_rank)


def is_training(name: str) -> bool:
    return bool(_words(name) & TRAINING)


def data_below(top: Path) -> Path | None:
    """Find the nearest folder that holds classes, `top` or one below; folders called train are searched first.

    If there is none, return a file that has to be unpacked first. None if there is neither.
    """
    to_unpack: list[Path] = []
    folders, seen = deque([top]), set[str]()
    while folders and len(seen) < FOLDERS:
        folder = folders.popleft()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        try:
            entries, _ = visible(folder)
        except OSError:
            continue
        within = [entry for entry in entries if entry.is_dir()]
        files = [entry for entry in entries if entry.is_file()]
        parts = splits([each.name for each in within])
        if _are_data(files) or (not parts and len(within) > 1 and _are_classes(within)):
            return folder
        to_unpack += [file for file in files if is_packed(file.name)]
        others = [each for each in within if each.name not in parts or is_training(each.name)]
        folders += sorted(others, key=lambda each: _rank(each.name))
    return min(to_unpack, key=lambda file: _rank(file.name), default=None)


def _are_data(files: Sequence[Path]) -> bool:
    tars, arrays = (sum(file.suffix == suffix for file in files) for suffix in (".tar", ".npy"))
    return bool(tars or arrays > 1 or any(batches.number(file) for file in files))


def _are_classes(folders: Sequence[Path]) -> bool:
    """Whether these are classes: they have images, maybe in a subfolder (tiny-imagenet's n01443537/images).

    Folders that contain splits, or mostly several folders of images, are a level too high.
    """
    classes = above = 0
    for folder in folders:
        if has_images(folder):
            classes += 1
            continue
        within = _subfolders(folder)
        if splits([each.name for each in within]):
            return False
        with_images = sum(has_images(each) for each in within)
        classes += with_images == 1
        above += with_images > 1
    return classes > above


def has_images(folder: Path) -> bool:
    """Whether there is an image in the folder itself."""
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(IMAGES) and not no_image(entry.name) for entry in entries)


def _subfolders(folder: Path) -> list[Path]:
    return [each for each in visible(folder)[0] if each.is_dir()]


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))


def _rank(name: str) -> int:
    """Return a key that sorts training data first, and validation and test data last."""
    return 0 if is_training(name) else 2 if _words(name) & SPLITS else 1
