"""Makes the cache class by class, so that finished classes are not made again.

    imagenet32/unfinished/settings.json        what is being made
                          <class>.broken.json  which of its images were broken, if any
                          <class>.npy          a finished class, written whole

When all classes are done, they become the cache (streams/image_cache.py), and the folder `unfinished` is removed.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.lib.format import open_memmap

from cbp_experiments import progress
from cbp_experiments.atomic import replace_file
from cbp_experiments.errors import ConfigError
from cbp_experiments.preparing.recognition import recognize
from cbp_experiments.preparing.sources import Contents, Source
from cbp_experiments.streams import image_cache
from cbp_experiments.streams.image_cache import INDEX, ImageClasses

IMAGES = 700  # of a class: paper, Methods (600 for training, 100 for testing)
Say = Callable[[str], object]


@dataclass(frozen=True)
class Options:
    """The options of the command: see its --help. images: None for IMAGES, or fewer if a class has fewer."""

    name: str = "ImageNet"
    images: int | None = None
    skip_small: bool = False
    skip_broken: bool = False
    workers: int = 1
    force: bool = False


def prepare(path: Path, output: Path, options: Options, say: Say = progress.say) -> ImageClasses:
    """Make the cache of the images at `path` in the folder `output`, or continue making it; `say` prints each line.

    A finished cache with the same settings is left as it is. Raises ConfigError; what was there is kept in that case.
    """
    source = recognize(path)
    contents = source.contents(options.workers)
    if contents.ignored:
        kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(contents.ignored.items()))
        say(f"ignored, because they are no images: {contents.ignored.total()} ({kinds})")
    names, images = choose(contents, options, say)
    settings = {
        "name": options.name,
        "source": str(path.absolute()),
        "kind": source.kind,
        "images": images,
        "filter": "box",
        "pillow": PIL.__version__,
        "found": contents.counts,
    }
    with _locked(output):
        if not options.force and (finished := _finished(output, settings, options.skip_broken)):
            say(f"{output} holds these images already")
            return finished
        unfinished = _begin(output, settings, options.force)
        say(f"{path}: {source.kind}, {len(names)} classes; of each the first {images} images by name")
        _make(source, names, images, options, unfinished, say)
        classes = _done(unfinished, names)
        if len(classes) < 2:
            raise ConfigError(f"{path} has {len(classes)} classes of {images} readable images: two are needed")
        broken = [line for name in classes for line in _broken(unfinished, name)]
        cache = image_cache.write(output, classes, {**settings, "broken": broken})
        shutil.rmtree(unfinished)
    return cache


def choose(contents: Contents, options: Options, say: Say) -> tuple[list[str], int]:
    """Return the names of the classes to use and the number of images of each. Raises ConfigError if too few."""
    smallest = min(contents.counts, key=lambda name: contents.counts[name], default=None)
    if smallest is None or len(contents.counts) < 2:
        raise ConfigError(f"there are {len(contents.counts)} classes: two are needed")
    fewest = contents.counts[smallest]
    if not fewest and not options.skip_small:
        raise ConfigError(f"class {smallest} has no images: take it away, or leave such classes out with --skip-small")
    images = options.images or (IMAGES if options.skip_small else min(IMAGES, fewest))
    small = [name for name, number in contents.counts.items() if number < images]
    if small and not options.skip_small:
        others = f", and {len(small) - 1} more classes too few" if len(small) > 1 else ""
        raise ConfigError(
            f"class {smallest} has {fewest} images of {images}{others}: take --images {fewest}, "
            "or leave such classes out with --skip-small"
        )
    if small:
        say(f"left out, with fewer than {images} images: {len(small)} classes ({_shortened(small)})")
    elif options.images is None and images < IMAGES:
        say(f"{images} images a class and not {IMAGES}: class {smallest} has no more")
    names = [name for name in contents.counts if name not in set(small)]
    if len(names) < 2:
        raise ConfigError(f"there are {len(names)} classes of at least {images} images: two are needed")
    return names, images


def _make(source: Source, names: list[str], images: int, options: Options, unfinished: Path, say: Say) -> None:
    """Make the classes that are not done yet, and save each one as it is finished."""
    left = [name for name in names if not _class_file(unfinished, name).exists()]
    for name in set(names) - set(left):
        _none_skipped(_broken(unfinished, name), options.skip_broken, f"class {name}, which is done,")
    if len(left) < len(names):
        say(f"going on: {len(names) - len(left)} of {len(names)} classes are done")
    with progress.Progress(len(names), unit="classes", done=len(names) - len(left)) as bar:
        for made in source.make(left, images, options.skip_broken, options.workers):
            for line in made.broken:
                say(f"left out: {line}")
            if len(made.pixels) == images:
                if made.broken:
                    _write_json(unfinished / f"{made.name}.broken.json", made.broken)
                replace_file(_class_file(unfinished, made.name), partial(np.save, arr=made.pixels))
            elif options.skip_small:
                say(f"left out: class {made.name}, with {len(made.pixels)} of {images} images that can be read")
            else:
                raise ConfigError(
                    f"class {made.name} has {len(made.pixels)} of {images} images that can be read: leave such classes "
                    f"out with --images {images} --skip-small, or take --images {len(made.pixels)} --force"
                )
            bar.update()


def _finished(output: Path, settings: dict[str, Any], skip_broken: bool) -> ImageClasses | None:
    """Return the existing cache if it has these settings. Raises ConfigError if it has others or is damaged."""
    if not (output / INDEX).exists():
        return None
    cache = image_cache.load(output)
    there = image_cache.read_index(output)["settings"]
    _same(settings, there, f"{output} holds a cache")
    _none_skipped(there.get("broken", []), skip_broken, f"the cache in {output}")
    return cache


def _none_skipped(broken: list[str], skip_broken: bool, what: str) -> None:
    """Raise ConfigError if an earlier call with --skip-broken left out images, and this call is without."""
    if broken and not skip_broken:
        raise ConfigError(
            f"{what} leaves out {len(broken)} broken images ({broken[0]}): accept that with --skip-broken"
        )


def _begin(output: Path, settings: dict[str, Any], force: bool) -> Path:
    """Return the folder of finished classes: as an attempt with the same settings left it, or without classes."""
    unfinished = output / "unfinished"
    file = unfinished / "settings.json"
    if unfinished.exists() and not file.exists() and any(unfinished.iterdir()):
        raise ConfigError(f"{unfinished} is there and none of ours: take another --output, or move it away")
    for leftover in (*output.glob(".classes.json.*.tmp"), *output.glob(".images-*.tmp"), *unfinished.glob(".*.tmp")):
        leftover.unlink()
    before = _settings_of(file)
    if before not in (None, settings):
        if not force:
            _same(settings, before, f"{output} holds an unfinished cache")
        before = None
    if before is None:
        if unfinished.exists():
            shutil.rmtree(unfinished)
        _write_json(file, settings)
    return unfinished


def _settings_of(file: Path) -> dict[str, Any] | None:
    """Read the settings of an unfinished attempt; None if there is none, or if its file is damaged: it starts over."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _same(wanted: dict[str, Any], there: Any, what: str) -> None:
    """Raise ConfigError if the two differ in any settings; it names them."""
    there = there if isinstance(there, dict) else {}
    if different := [key for key in wanted if wanted[key] != there.get(key)]:
        pairs = (f"{key} {there.get(key)}, not {wanted[key]}" for key in different if key != "found")
        differences = "; ".join(pairs) or "the source has changed"
        raise ConfigError(f"{what} of other settings ({differences}): take another --output, or --force for a new one")


def _done(unfinished: Path, names: list[str]) -> dict[str, np.ndarray]:
    files = {name: _class_file(unfinished, name) for name in names}
    return {name: open_memmap(file, "r") for name, file in files.items() if file.exists()}


def _class_file(unfinished: Path, name: str) -> Path:
    return unfinished / f"{name}.npy"


def _broken(unfinished: Path, name: str) -> list[str]:
    file = unfinished / f"{name}.broken.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else []


def _write_json(file: Path, content: Any) -> None:
    replace_file(file, lambda handle: handle.write(json.dumps(content).encode()))


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Make the folder and lock it, so that no second process writes into it."""
    output.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigError(f"another process is writing into {output}: wait for it") from error
    finally:
        os.close(descriptor)


def _shortened(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:5])}, ..."
