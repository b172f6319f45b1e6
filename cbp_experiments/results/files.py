"""Replaces files atomically, and reports in one line that a file cannot be written or read."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from cbp_experiments.atomic import replace_file, sync_folder
from cbp_experiments.errors import ConfigError


def check_writable(folder: Path) -> None:
    """Make `folder` if it does not exist. Raises ConfigError if it is not writable, before any time is spent."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no right to write in it")


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a new file, and replace `path` with it. It is on the disk when this returns.

    Raises ConfigError if the file cannot be written; the old one is kept in that case.
    """
    with writing(path):
        replace_file(path, write)


def write_json(path: Path, content: dict[str, Any]) -> None:
    ordered = {"status": content["status"], **content}
    write_atomically(path, lambda handle: handle.write((json.dumps(ordered, indent=2) + "\n").encode()))


def remove(path: Path) -> None:
    with writing(path):
        if os.path.exists(path):
            path.unlink(missing_ok=True)
            sync_folder(path.parent)


def exists(path: Path) -> bool:
    """Whether the file exists. Raises ConfigError if the folder cannot be searched, instead of answering no."""
    with reading(path):
        try:
            os.stat(path)
        except PermissionError:
            raise
        except (OSError, ValueError):
            return False
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise ConfigError(f"cannot write {path} ({reason}); choose another folder with results_dir=...") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); ask its owner for the right to") from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); delete its folder and run that run again"
        ) from error
    except ConfigError:  # a ValueError too, with a better message
        raise
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is damaged ({first_line(error)}); run that run again with force=true") from error


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
