"""Ties a launcher's processes to the process that launched them: none outlives it, and none loses work.

The launching process locks a file in a scratch folder for as long as it wants the jobs done. Each process that trains a
job locks another file there. The kernel releases a lock however its process ends, so each side can tell whether the
other is alive. A job on another machine finds no such folder and keeps running.
"""

import fcntl
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from cbp_experiments import signals

PREFIX = "cbp-"
WANTED = "wanted.lock"  # held by the launching process
SCRATCH = "CBP_SCRATCH"  # environment variable: the folder
POLL_SECONDS = 0.2


@contextmanager
def launching() -> Iterator[Path]:
    """Make a scratch folder. In this context, a signal stops the launched jobs and is raised once they are saved.

    A launcher kills its processes as soon as it sees the signal, so it must not see it earlier. A second signal stops
    everything at once. The folder is removed at the end.
    """
    folder, lock = _claim()
    stopped = False

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal stopped
        if not stopped:
            stopped = True
            fcntl.flock(lock, fcntl.LOCK_UN)
            while any(map(_held, folder.glob("*.job"))):
                time.sleep(POLL_SECONDS)
        raise signals.Interrupted(number)

    os.environ[SCRATCH] = str(folder)
    try:
        with signals.handled(stop):
            yield folder
    finally:
        del os.environ[SCRATCH]
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _claim() -> tuple[Path, IO[str]]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):
            lock = open(folder / WANTED, "w")  # noqa: SIM115 (it stays open)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / WANTED).exists():  # else `remove_abandoned` of another process deleted it
                return folder, lock


def remove_abandoned() -> None:
    """Remove this user's scratch folders whose processes were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{WANTED}"):
        with suppress(OSError), open(path) as lock:
            if path.stat().st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)


@contextmanager
def launched() -> Iterator[None]:
    """A context in which a job trains in a process of a launcher.

    A signal, or the end of the launching process, ends this process after the job is saved.
    """
    folder = Path(os.environ.get(SCRATCH, os.devnull))
    try:
        with signals.raised():
            if folder.is_dir():
                with _attached(folder):
                    yield
            else:
                yield
    except KeyboardInterrupt as error:  # the launcher would give the process another job, or print a traceback
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(error.exit_code if isinstance(error, signals.Interrupted) else 130)


@contextmanager
def _attached(folder: Path) -> Iterator[None]:
    mine = folder / f"{os.getpid()}.job"
    heard, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    before = signal.set_wakeup_fd(wakeup)  # Python writes to it at a signal
    watch = threading.Thread(target=_watch, args=(folder / WANTED, heard), daemon=True)
    try:
        with open(mine, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            watch.start()
            yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(wakeup, b"\0")
        mine.unlink(missing_ok=True)


def _watch(wanted: Path, heard: int) -> None:
    """Stop this process when it is no longer wanted, unless a signal has already come or the job is over."""
    while not select.select([heard], [], [], POLL_SECONDS)[0]:
        if not _held(wanted):
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        with open(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False
