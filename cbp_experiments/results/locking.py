"""The lock of an experiment: who writes what its runs have in common (planned.json, the summaries) holds it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cbp_experiments.errors import ConfigError
from cbp_experiments.results.files import remove, writing

SECONDS = 60.0  # after which a lock is reported instead of waited for


@contextmanager
def experiment_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the experiment in `folder`, and remove temporary files that killed processes have left there.

    A folder that may not be written is not locked: nobody with the same rights writes there. Raises ConfigError when
    another process keeps the lock.
    """
    if not os.access(folder, os.W_OK):
        yield
        return
    lock = FileLock(folder / ".planned.lock")  # it stays: whoever removed it might take it from one who waits
    with writing(folder):
        try:
            lock.acquire(timeout=SECONDS)
        except Timeout as error:
            raise ConfigError(
                f"another process has held {lock.lock_file} for {SECONDS:g} seconds; if none is at work there, delete it"
            ) from error
    try:
        for leftover in folder.glob(".*.tmp"):
            remove(leftover)
        yield
    finally:
        lock.release()
