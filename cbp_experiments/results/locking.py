"""Locks for the files that the runs of an experiment share: planned.json, settings.csv and the summaries."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cbp_experiments.errors import ConfigError
from cbp_experiments.results.files import remove, writing


@contextmanager
def locked(folder: Path, *names: str, seconds: float = 20.0) -> Iterator[None]:
    """Hold the lock of these files in the folder of an experiment; it is named after the first: `.planned.lock`.

    Temporary versions of the files that killed processes left are removed. If the folder is not writable, nothing is
    locked, since nothing can change. Raises ConfigError if another process keeps the lock for `seconds`.
    """
    if not os.access(folder, os.W_OK):
        yield
        return
    lock = FileLock(folder / f".{Path(names[0]).stem}.lock")  # never removed: another process may wait for it
    with writing(folder):
        try:
            lock.acquire(timeout=seconds)
        except Timeout as error:
            held = f"another process has held {lock.lock_file} for {seconds:g} seconds"
            raise ConfigError(f"{held}; if none is at work there, delete it") from error
    try:
        for name in names:
            for leftover in folder.glob(f".{name}.*.tmp"):
                remove(leftover)
        yield
    finally:
        lock.release()
