"""The folder of a run: written so that a crash at any moment loses nothing, by one process at a time.

    results/<experiment>/<run>/metrics.csv     one row a task
                               config.yaml     the composed config with the seed
                               run.json        status (incomplete | complete | diverged) and provenance
                               checkpoint.npz  while incomplete: state, rows so far, wall seconds
                               .lock           while incomplete: held by the process that trains it

Every file is replaced whole: written beside its place, flushed to the disk, renamed, and the folder flushed, so that
the order holds when the power fails. What is left is the gap between two files. The checkpoint is the only truth of an
incomplete run; metrics.csv is derived from its rows.

- begin: [checkpoint removed, when the run is to start anew] run.json, [stale metrics.csv removed], config.yaml. A
  crash before run.json leaves the old run as it was, or an incomplete one without a checkpoint, which starts again. A
  crash after it leaves an incomplete run; the next begin does the rest.
- save: checkpoint, metrics.csv. A crash between leaves an older metrics.csv; the next save or finish rewrites it.
- finish: metrics.csv, run.json, checkpoint removed. A crash before run.json leaves an incomplete run whose last tasks
  are trained again from the checkpoint, into the same bytes. A crash after it leaves a finished run and a checkpoint
  that nobody reads; `tidy` removes it.

The lock is the kernel's (flock), so that it goes with its process, however that ends: a .lock file that lies about is
nobody's. A process holds it from before it reads the checkpoint until after finish, and looks at the status again once
it has it. On file systems without flock the filelock package writes the holder's process number into the file instead.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock, Timeout

from cbp_experiments.errors import ConfigError
from cbp_experiments.results.files import exists, first_line, reading, remove, write_atomically, write_json, writing

FINISHED = ("complete", "diverged")
STATUSES = ("incomplete", *FINISHED)
Row = dict[str, float]
log = logging.getLogger(__name__)


def digest(config: dict[str, Any]) -> str:
    """8 hex digits that stand for a config: equal for equal values, whatever the order of the keys."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()[:8]


def run_name(config: dict[str, Any], seed: int) -> str:
    """`<learner>_<digest>_seed<seed>`, the name of a run's folder.

    `config` holds the keys that make the run what it is, `learner.name` among them, and no others: a key that does
    not change the numbers (results_dir, force) would give the same run two folders.
    """
    learner = config["learner"]["name"]
    if not re.fullmatch(r"[\w.-]+", learner):
        raise ConfigError(f"learner.name={learner}: it names a folder, so only letters, digits and _ . - may be in it")
    return f"{learner}_{digest(config)}_seed{seed}"


class RunFolder:
    """One run's folder, from `begin` over `save` and `restore` to `finish`.

    Writing raises ConfigError, one line, where the folder cannot be written (rights, a file in its place, disk full).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics = path / "metrics.csv"
        self._run = path / "run.json"
        self._checkpoint = path / "checkpoint.npz"
        self._lock = FileLock(path / ".lock")

    def status(self) -> str | None:
        """incomplete, complete or diverged, as run.json says; None when there is no run yet."""
        return read_run(self._run)["status"] if exists(self._run) else None

    def lock(self) -> bool:
        """Take the run for this process, until `unlock`; False while another one has it."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0.1)  # `in_progress` of another process holds it for a moment
            except Timeout:
                return False
        return True

    def unlock(self) -> None:
        """Give the run free, without what a crash has left and, once it is finished, checkpoint and lock."""
        for leftover in self._leftovers():
            remove(leftover)
        self._lock.release()

    def in_progress(self) -> bool:
        """Whether a living process has the run."""
        if not os.path.exists(self._lock.lock_file):
            return False
        if taken := self.lock():
            self.unlock()
        return not taken

    def begin(self, config: dict[str, Any], provenance: dict[str, Any], *, restart: bool = False) -> None:
        """Mark the run incomplete and write its config; call it before a new run and before a continued one.

        config: plain nested values with `seed`, as they go into config.yaml.
        provenance: plain values for run.json (tasks, versions, git_commit, data_checksum, data_description, ...).
        restart: drop what an earlier attempt left, a finished run included (force=true).
        """
        if not restart and self.status() in FINISHED:
            raise ValueError(f"{self.path} holds a finished run; begin it with restart=True")
        if restart:
            remove(self._checkpoint)
        write_json(self._run, {**provenance, "status": "incomplete", "seed": config["seed"]})
        if not self._checkpoint.exists():
            remove(self._metrics)
        text = yaml.safe_dump(config, sort_keys=False)
        write_atomically(self.path / "config.yaml", lambda handle: handle.write(text.encode()))

    def save(self, rows: list[Row], state: dict[str, np.ndarray], wall_seconds: float) -> None:
        """Write the checkpoint, then metrics.csv.

        rows: one a task, all with the same keys; integers stay integers.
        state: everything that training goes on from; any shapes, no object arrays.
        """
        objects = [name for name, array in state.items() if np.asarray(array).dtype.hasobject]
        if objects:
            raise ValueError(f"object arrays do not go into a checkpoint: {', '.join(objects)}")
        about = {"rows": _plain_rows(rows), "state": list(state), "wall_seconds": float(wall_seconds)}
        arrays: dict[str, Any] = {f"state/{name}": np.asarray(array) for name, array in state.items()}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        write_atomically(self._checkpoint, lambda handle: np.savez(handle, **arrays))
        self._write_metrics(rows)

    def restore(self) -> tuple[list[Row], dict[str, np.ndarray], float] | None:
        """The rows, state and wall seconds of the last `save`, bit for bit; None when the run has to start again."""
        if not self._checkpoint.exists():
            return None
        try:
            with self._opened_checkpoint() as (about, arrays):
                state = {name: arrays[f"state/{name}"] for name in about["state"]}
                return about["rows"], state, about["wall_seconds"]
        except Exception as error:  # a damaged archive raises almost anything
            log.warning("%s cannot be read (%s): the run starts again", self._checkpoint, first_line(error))
            return None

    def progress(self) -> tuple[int, float]:
        """Tasks done and the wall seconds they took, by run.json or, while incomplete, by the checkpoint."""
        run = read_run(self._run) if exists(self._run) else {}
        if run.get("status") in FINISHED:
            return run["tasks_done"], run["wall_seconds"]
        try:
            with self._opened_checkpoint() as (about, _):
                return len(about["rows"]), about["wall_seconds"]
        except Exception:  # no checkpoint, or a damaged one, of which `restore` speaks
            return 0, 0.0

    def finish(self, status: str, rows: list[Row], wall_seconds: float) -> None:
        """Write the last metrics.csv, mark the run complete or diverged, remove the checkpoint."""
        if status not in FINISHED:
            raise ValueError(f"a run finishes as one of {FINISHED}, not {status}")
        self._write_metrics(rows)
        outcome = {"status": status, "tasks_done": len(rows), "wall_seconds": round(wall_seconds, 3)}
        write_json(self._run, {**read_run(self._run), **outcome})
        remove(self._checkpoint)

    def tidy(self) -> None:
        """Remove what a crash may have left, unless a living process has the run.

        That is temporary files and, once the run is finished, its checkpoint and its lock.
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

    def _write_metrics(self, rows: list[Row]) -> None:
        write_atomically(self._metrics, lambda handle: handle.write(metrics_csv(rows).encode()))


def metrics_csv(rows: list[Row]) -> str:
    """The text of metrics.csv: columns as in the first row, floats with 8 significant digits, NaN as an empty cell.

    Without rows (a run that diverged in its first task) it is the header of the two columns that every run has.
    """
    plain = _plain_rows(rows)
    header = list(plain[0]) if plain else ["task", "examples"]
    lines = [header, *([_cell(value) for value in row.values()] for row in plain)]
    return "".join(",".join(line) + "\n" for line in lines)


def _plain_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows with Python's own int and float, so that they survive JSON unchanged."""
    if any(list(row) != list(rows[0]) for row in rows):
        raise ValueError("the rows of a run differ in their columns")
    integer = (int, np.integer)
    return [{key: int(v) if isinstance(v, integer) else float(v) for key, v in row.items()} for row in rows]


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "" if np.isnan(value) else f"{value:.8g}"


def read_run(path: Path) -> dict[str, Any]:
    with reading(path):
        run = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(run, dict) or run.get("status") not in STATUSES or not isinstance(run.get("seed"), int):
            raise ValueError("no status or no seed in it")
    return run
