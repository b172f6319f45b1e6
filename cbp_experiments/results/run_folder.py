"""The folder of a run, written by one process at a time so that a crash at any moment loses nothing.

    results/<experiment>/<run>/metrics.csv     one row per task
                               config.yaml     the composed config with the seed
                               run.json        status (incomplete | complete | diverged) and provenance
                               checkpoint.npz  while incomplete: state, the rows that belong to it, wall seconds
                               .lock           while incomplete: held by the process that trains it

The checkpoint holds the state, and how many bytes of metrics.csv belong to it, with their checksum. A save appends the
rows since the last one, so its cost does not grow with the number of finished tasks. Every other file is replaced
whole: a temporary file beside it is written, flushed to the disk and renamed, and the folder is flushed, so that the
order of writes survives a power failure. That leaves crashes between two writes:

- begin: [checkpoint removed, when the run starts again] run.json, [stale metrics.csv removed], config.yaml. A crash
  before run.json leaves the old run as it was, or an incomplete one without a checkpoint, which starts again. A crash
  after it leaves an incomplete run; the next begin does the rest.
- save: metrics.csv, checkpoint. A crash in between leaves rows that the checkpoint does not count; the next save
  overwrites them.
- finish: metrics.csv (whole), run.json, checkpoint removed. A crash before run.json leaves an incomplete run whose last
  tasks are trained again from the checkpoint, to the same bytes. A crash after it leaves a finished run and a
  checkpoint that nothing reads; `tidy` removes it.

The kernel releases the lock (flock) however its process ends. A process takes it before it reads the checkpoint, checks
the status again, and holds it until after finish. On file systems without flock, the filelock package writes the
holder's process number into the file instead.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import yaml
from filelock import FileLock, Timeout

from cbp_experiments.atomic import replace_file
from cbp_experiments.errors import ConfigError
from cbp_experiments.progress import say
from cbp_experiments.results.csv_rows import Row, metrics_csv, value_of
from cbp_experiments.results.files import exists, first_line, reading, remove, write_atomically, write_json, writing

FINISHED = ("complete", "diverged")
STATUSES = ("incomplete", *FINISHED)


@dataclass(frozen=True)
class Written:
    """The beginning of metrics.csv that belongs to a checkpoint: number of rows and of bytes, and their CRC-32."""

    rows: int = 0
    size: int = 0
    crc: int = 0

    def then(self, rows: int, text: bytes) -> "Written":
        return Written(self.rows + rows, self.size + len(text), crc32(text, self.crc))


class RunFolder:
    """One run's folder, from `begin` through `save` and `restore` to `finish`.

    Writing raises ConfigError, one line, if the folder cannot be written (permissions, a file in its place, disk full).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics = path / "metrics.csv"
        self._run = path / "run.json"
        self._checkpoint = path / "checkpoint.npz"
        self._lock = FileLock(path / ".lock")
        self._written = Written()

    def status(self) -> str | None:
        """Return incomplete, complete or diverged, from run.json; None if there is no run yet.

        Raises ConfigError if run.json is damaged, or a finished run has no metrics.csv.
        """
        status = read_run(self._run)["status"] if exists(self._run) else None
        if status in FINISHED and not exists(self._metrics):
            raise ConfigError(f"{self._metrics} is missing; run that run again with force=true")
        return status

    def lock(self) -> bool:
        """Take the run for this process, until `unlock`. Returns False if another process has it."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0.1)  # `in_progress` of another process holds it for a moment
            except Timeout:
                return False
        return True

    def unlock(self) -> None:
        """Release the run; remove what a crash left and, if the run is finished, its checkpoint and lock."""
        try:
            for leftover in self._leftovers():
                remove(leftover)
        finally:
            self._lock.release()

    def in_progress(self) -> bool:
        """Whether a living process has the run. Writes nothing, so read access is enough."""
        try:
            descriptor = os.open(self._lock.lock_file, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError:  # no flock here: the file says who has it
            return self._locked_by_filelock()
        finally:
            os.close(descriptor)

    def _locked_by_filelock(self) -> bool:
        try:
            if taken := self.lock():
                self.unlock()
            return not taken
        except ConfigError:
            return False

    def begin(self, config: dict[str, Any], provenance: dict[str, Any], *, restart: bool = False) -> None:
        """Mark the run incomplete and write its config; call this before training a new or a continued run.

        config: plain nested values with `seed`, as they go into config.yaml.
        provenance: plain values for run.json (tasks, versions, git_commit, data_checksum, data_description, ...).
        restart: discard what an earlier attempt left, including a finished run (force=true).
        """
        if not restart and self.status() in FINISHED:
            raise ValueError(f"{self.path} holds a finished run; begin it with restart=True")
        if restart:
            remove(self._checkpoint)
        write_json(self._run, {**provenance, "status": "incomplete", "seed": config["seed"]})
        if not self._checkpoint.exists():
            remove(self._metrics)
            self._written = Written()
        text = yaml.safe_dump(config, sort_keys=False)
        write_atomically(self.path / "config.yaml", lambda handle: handle.write(text.encode()))

    def save(self, rows: list[Row], state: dict[str, np.ndarray], wall_seconds: float) -> None:
        """Append the rows since the last `save` or `restore` to metrics.csv, then replace the checkpoint.

        rows: all rows of the run, one per task, all with the same keys; integers stay integers.
        state: everything that training needs to continue; any shapes, no object arrays.
        """
        objects = [name for name, array in state.items() if np.asarray(array).dtype.hasobject]
        if objects:
            raise ValueError(f"object arrays do not go into a checkpoint: {', '.join(objects)}")
        with writing(self._metrics):
            self._append(rows)
        about = {"state": list(state), "wall_seconds": float(wall_seconds), "metrics": vars(self._written)}
        arrays: dict[str, Any] = {f"state/{name}": np.asarray(array) for name, array in state.items()}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        write_atomically(self._checkpoint, lambda handle: np.savez(handle, **arrays))

    def restore(self) -> tuple[list[Row], dict[str, np.ndarray], float] | None:
        """Return the rows, state and wall seconds of the last `save`; None if the run has to start again.

        The state equals the saved one bit for bit; the rows are rounded as in metrics.csv. Prints a line if the
        checkpoint cannot be read.
        """
        if not self._checkpoint.exists():
            return None
        try:
            with self._opened_checkpoint() as (about, arrays):
                state = {name: arrays[f"state/{name}"] for name in about["state"]}
                seconds = about["wall_seconds"]
            rows = self._read_rows(Written(**about["metrics"]))
            if not (isinstance(seconds, float) and seconds >= 0):
                raise ValueError(f"wall_seconds is {seconds!r}")
        except Exception as error:  # a damaged archive raises almost anything
            say(f"{self._checkpoint} cannot be read ({first_line(error)}): the run starts again")
            return None
        return rows, state, seconds

    def progress(self) -> tuple[int, float]:
        """Return the finished tasks and their wall seconds, from run.json or, while incomplete, the checkpoint."""
        run = read_run(self._run) if exists(self._run) else {}
        if run.get("status") in FINISHED:
            return run["tasks_done"], run["wall_seconds"]
        try:
            with self._opened_checkpoint() as (about, _):
                return int(about["metrics"]["rows"]), float(about["wall_seconds"])
        except Exception:  # no checkpoint, or a damaged one, which `restore` reports
            return 0, 0.0

    def finish(self, status: str, rows: list[Row], wall_seconds: float) -> None:
        """Write metrics.csv whole, mark the run complete or diverged, remove the checkpoint."""
        if status not in FINISHED:
            raise ValueError(f"a run finishes as one of {FINISHED}, not {status}")
        write_atomically(self._metrics, lambda handle: handle.write(metrics_csv(rows).encode()))
        outcome = {"status": status, "tasks_done": len(rows), "wall_seconds": round(wall_seconds, 3)}
        write_json(self._run, {**read_run(self._run), **outcome})
        remove(self._checkpoint)

    def tidy(self) -> None:
        """Remove what a crash may have left, unless a living process has the run.

        These are temporary files and, if the run is finished, its checkpoint and its lock.
        """
        if self._leftovers() and self.lock():
            self.unlock()

    def _leftovers(self) -> list[Path]:
        try:
            finished = self.status() in FINISHED
        except ConfigError:  # a damaged run.json, which `begin` replaces: nothing is known to be obsolete
            finished = False
        obsolete = [self._checkpoint, Path(self._lock.lock_file)] if finished else []
        return [*self.path.glob(".*.tmp"), *(path for path in obsolete if path.exists())]

    @contextmanager
    def _opened_checkpoint(self) -> Iterator[tuple[dict[str, Any], Any]]:
        with open(self._checkpoint, "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            yield json.loads(arrays["about"].tobytes()), arrays

    def _append(self, rows: list[Row]) -> None:
        """Append new rows to metrics.csv and flush it to the disk; rewrite it if it lacks rows already written."""
        before = self._written
        if len(rows) == before.rows:
            return
        size = os.stat(self._metrics).st_size if os.path.exists(self._metrics) else -1
        if not before.rows or size < before.size:
            text = metrics_csv(rows).encode()
            replace_file(self._metrics, lambda handle: handle.write(text))
            self._written = Written().then(len(rows), text)
            return
        added = metrics_csv([rows[0], *rows[before.rows :]]).encode().split(b"\n", 2)[2]
        with open(self._metrics, "r+b") as handle:
            handle.truncate(before.size)  # drops rows that a crash left after those of the checkpoint
            handle.seek(before.size)
            handle.write(added)
            handle.flush()
            os.fsync(handle.fileno())
        self._written = before.then(len(rows) - before.rows, added)

    def _read_rows(self, written: Written) -> list[Row]:
        """Read the rows that belong to a checkpoint. Raises ValueError or OSError if metrics.csv has others."""
        self._written = Written()
        text = b""
        if written.rows:
            with open(self._metrics, "rb") as handle:
                text = handle.read(written.size)
        header, *lines = text.decode().split("\n")[:-1] or [""]
        if Written().then(len(lines), text) != written:
            raise ValueError(f"{self._metrics.name} is not as it was saved")
        names = header.split(",")
        rows = [dict(zip(names, map(value_of, line.split(",")), strict=True)) for line in lines]
        if [row["task"] for row in rows] != list(range(1, len(rows) + 1)):
            raise ValueError(f"{self._metrics.name} does not count its tasks from 1")
        self._written = written
        return rows


def read_run(path: Path) -> dict[str, Any]:
    """Read run.json. Raises ConfigError if it is missing or damaged."""
    with reading(path):
        run = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(run, dict) or run.get("status") not in STATUSES or not isinstance(run.get("seed"), int):
            raise ValueError("no status or no seed in it")
        if not isinstance(run.get("tasks_done", 0), int) or not isinstance(run.get("wall_seconds", 0.0), int | float):
            raise ValueError("tasks_done or wall_seconds is not a number")
        if run["status"] in FINISHED and not {"tasks_done", "wall_seconds"} <= run.keys():
            raise ValueError("a finished run without tasks_done and wall_seconds")
    return run
