"""Downsampled ImageNet (Chrabaszcz et al., 2017): images of all classes mixed, in pickled or .npz batches."""

import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from cbp_experiments.errors import ConfigError
from cbp_experiments.preparing.sources import Contents, Made
from cbp_experiments.streams import plain_pickle
from cbp_experiments.streams.downloads import one_line
from cbp_experiments.streams.image_cache import IMAGE_SHAPE


def number(path: Path) -> int | None:
    """Return the number of train_data_batch_<number>, also with .npz, .pkl or .pickle; None for other files."""
    match = re.fullmatch(r"train_data_batch_(\d+)(\.npz|\.pkl|\.pickle)?", path.name)
    return int(match[1]) if match else None


@dataclass
class BatchSource:
    """The batches as one source; images have no names, so they are taken in the order of the batches."""

    kind: str
    paths: Sequence[Path]

    def __post_init__(self) -> None:
        self.paths = sorted(self.paths, key=lambda path: (number(path) or 0, path.name))
        numbers = [number(path) for path in self.paths]
        if numbers != list(range(1, len(numbers) + 1)):
            raise ConfigError(
                f"{self.paths[0].parent} holds the batches {', '.join(map(str, numbers))}: there has to be one of each "
                "number from 1"
            )

    def contents(self, workers: int) -> Contents:
        """List the classes, named by label, 0001 to 1000. Runs in this process, because a batch takes 0.4 GB."""
        counts: Counter[str] = Counter()
        for path in self.paths:
            counts.update(f"{label:04d}" for label in read_batch(path)[1].tolist())
        return Contents({name: counts[name] for name in sorted(counts)})

    def make(self, names: Sequence[str], images: int, skip_broken: bool, workers: int) -> Iterator[Made]:
        """Read batch after batch, in this process; a class is done when it is full, or at the end."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for path in self.paths:
            data, labels = read_batch(path)
            for name in list(found):
                rows = np.flatnonzero(labels == int(name))[: images - sum(map(len, found[name]))]
                found[name].append(data[rows])
                if sum(map(len, found[name])) == images:
                    yield Made(name, np.concatenate(found.pop(name)))
        for name, parts in found.items():
            yield Made(name, np.concatenate(parts))


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 `[N, 3, 32, 32]` and labels int `[N]`. Raises ConfigError unless the file is a whole batch."""
    try:
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False) if path.suffix == ".npz" else plain_pickle.load(file)
            data, labels = content["data"], np.asarray(content["labels"])
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (prod(IMAGE_SHAPE),):
            raise ValueError(f"data are {_describe(data)}, and not uint8 [N, 3072]: images of 32x32 are needed")
        if labels.shape != (len(data),) or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
            raise ValueError(f"labels are {_describe(labels)}, and not a number from 0 for each image")
    except KeyError as error:
        raise ConfigError(f"{path} is no batch of downsampled ImageNet: there are no {error} in it") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path} is no whole batch of downsampled ImageNet ({one_line(error)})") from error
    return data.reshape(-1, *IMAGE_SHAPE), labels


def _describe(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
