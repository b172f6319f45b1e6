"""Reads the images of one class from a tar, a folder or an array."""

import os
import stat
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import numpy as np
from numpy.lib.format import open_memmap

from cbp_experiments.errors import ConfigError
from cbp_experiments.preparing.pictures import BrokenImage, decode, no_image, system_folder
from cbp_experiments.streams.image_cache import IMAGE_SHAPE

# A tar ends with two blocks of zeros and is then padded to a whole record of 20 blocks. Some writers can use larger
# records; their files look like incomplete ones, so they are refused.
PADDING = tarfile.RECORDSIZE + tarfile.BLOCKSIZE


@dataclass
class Listing:
    """The contents of an opened class. names: of its images, sorted; read: from a name to uint8 `[3, 32, 32]`, raises
    BrokenImage; ignored: how many files do not count as images, by kind."""

    names: list[str]
    read: Callable[[str], np.ndarray]
    ignored: Counter[str] = field(default_factory=Counter)


class ImageClass(Protocol):
    """One class. It is sent to other processes, which open it."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str:
        """Where the class is, for messages."""

    def opened(self) -> AbstractContextManager[Listing]:
        """List the images, which can be read in this context. Raises ConfigError if the class is damaged."""


@dataclass(frozen=True)
class TarClass:
    """A tar of images: the whole file, or the part of `path` from byte `start` up to `end`."""

    name: str
    path: Path
    start: int = 0
    end: int | None = None

    @property
    def place(self) -> str:
        return str(self.path) if self.end is None else f"{self.path}: {self.name}.tar"

    @contextmanager
    def opened(self) -> Iterator[Listing]:
        ignored: Counter[str] = Counter()
        with open(self.path, "rb") as file:
            members = {
                member.name.removeprefix("./"): member
                for member in plain_members(file, self.start, self.end, self.place, ignored)
            }

            def read(name: str) -> np.ndarray:
                try:
                    file.seek(members[name].offset_data)
                    content = file.read(members[name].size)
                except OSError as error:
                    raise BrokenImage(error.strerror or str(error)) from error
                return decode(content)

            yield Listing(sorted(members), read, ignored)


@dataclass(frozen=True)
class FolderClass:
    """A folder of images, including subfolders; links are followed, as in torchvision's ImageFolder."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def place(self) -> str:
        return str(self.path)

    @contextmanager
    def opened(self) -> Iterator[Listing]:
        ignored: Counter[str] = Counter()
        names = []
        for path in _files_below(self.path, ignored):
            name = path.relative_to(self.path).as_posix()
            if kind := no_image(name) or _odd_file(path):
                ignored[kind] += 1
            else:
                names.append(name)

        def read(name: str) -> np.ndarray:
            try:
                content = (self.path / name).read_bytes()
            except OSError as error:
                raise BrokenImage(error.strerror or str(error)) from error
            return decode(content)

        yield Listing(sorted(names), read, ignored)


@dataclass(frozen=True)
class ArrayClass:
    """A .npy file of uint8 `[n, 3, 32, 32]` or `[n, 32, 32, 3]`; its images are named by row."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def place(self) -> str:
        return str(self.path)

    @contextmanager
    def opened(self) -> Iterator[Listing]:
        try:
            array = open_memmap(self.path, "r")  # as np.load(allow_pickle=False), but only for .npy
        except (ValueError, EOFError) as error:
            raise ConfigError(f"{self.path} is not a whole .npy file of numbers ({error})") from error
        if array.dtype == np.uint8 and array.shape[1:] == (*IMAGE_SHAPE[1:], 3):
            array = array.transpose(0, 3, 1, 2)
        if array.dtype != np.uint8 or array.shape[1:] != IMAGE_SHAPE:
            raise ConfigError(
                f"{self.path} holds {array.dtype} {list(array.shape)}, and not uint8 [n, 3, 32, 32] or [n, 32, 32, 3]"
            )
        rows = {f"row {row:07d}": row for row in range(len(array))}
        yield Listing(list(rows), lambda name: np.array(array[rows[name]]))


def plain_members(
    file: IO[bytes], start: int, end: int | None, place: str, ignored: Counter[str]
) -> Iterator[tarfile.TarInfo]:
    """Yield the files in a tar that may be images or classes; count the others, and system folders, in `ignored`."""
    system = set()
    for member in read_members(file, start, end, place):
        if folder := system_folder(member.name):
            system.add(folder)
        elif member.isdir():
            continue
        elif kind := odd_member(member) or no_image(member.name):
            ignored[kind] += 1
        else:
            yield member
    if system:
        ignored["system folder"] += len(system)


def read_members(file: IO[bytes], start: int, end: int | None, place: str) -> list[tarfile.TarInfo]:
    """List the members of the uncompressed tar from byte `start` up to `end`. Raises ConfigError if it is not whole.

    tarfile treats a damaged or missing header as the end of the tar, and also the zeros of a download that reserved its
    space first. So the end must look like one written on purpose: only zeros, at most PADDING bytes.
    """
    end = file.seek(0, os.SEEK_END) if end is None else end
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            members = tar.getmembers()
        file.seek(tar.offset)
        rest = file.read(min(end - tar.offset, PADDING + 1))
        if rest[: tarfile.BLOCKSIZE] != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"it has no end after {len(members)} members")
        if len(rest) > PADDING or any(rest):
            raise tarfile.ReadError(
                f"after {len(members)} members {end - tar.offset:,} bytes follow, and a tar ends with at most "
                f"{PADDING:,} zeros: an incomplete download, or several tars in one file"
            )
    except (tarfile.TarError, ValueError) as error:
        raise ConfigError(f"{place} is truncated, damaged or no plain tar ({error}): download it again") from error
    return members


def odd_member(member: tarfile.TarInfo) -> str | None:
    """Name the kind of a member that is not a plain file, or whose name leads out of the archive; else None."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return "name outside of the archive"
    if member.issym() or member.islnk():
        return "link"
    return None if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else "no plain file"


def _odd_file(path: Path) -> str | None:
    """Name the kind of a pipe or a device, which must not be opened; else None. A broken link fails when it is read."""
    try:
        return None if stat.S_ISREG(os.stat(path).st_mode) else "no plain file"
    except OSError:
        return None


def _files_below(folder: Path, ignored: Counter[str]) -> Iterator[Path]:
    """Yield all files, also in linked folders, but no folder twice (a link may lead back), and no system folders."""

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if system := [name for name in folders if system_folder(name)]:
            ignored["system folder"] += len(system)
            folders[:] = [name for name in folders if name not in system]
        yield from (Path(here, name) for name in files)
