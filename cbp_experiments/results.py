"""The folder of a run: written so that a crash at any moment loses nothing, and read back as one table.

    results/<experiment>/<run>/metrics.csv     one row a task
                               config.yaml     the composed config with the seed
                               run.json        status (incomplete | complete | diverged) and provenance
                               checkpoint.npz  while incomplete: state, rows so far, wall seconds

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
"""

import json
import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import yaml

from cbp_experiments.errors import ConfigError

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

    def status(self) -> str | None:
        """incomplete, complete or diverged, as run.json says; None when there is no run yet."""
        return _read_run(self._run)["status"] if os.path.exists(self._run) else None

    def begin(self, config: dict[str, Any], provenance: dict[str, Any], *, restart: bool = False) -> None:
        """Mark the run incomplete and write its config; call it before a new run and before a continued one.

        config: plain nested values with `seed`, as they go into config.yaml.
        provenance: plain values for run.json (tasks, versions, git_commit, data_checksum, data_description, ...).
        restart: drop what an earlier attempt left, a finished run included (force=true).
        """
        if not restart and self.status() in FINISHED:
            raise ValueError(f"{self.path} holds a finished run; begin it with restart=True")
        if restart:
            _remove(self._checkpoint)
        _write_json(self._run, {**provenance, "status": "incomplete", "seed": config["seed"]})
        if not self._checkpoint.exists():
            _remove(self._metrics)
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
            with open(self._checkpoint, "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                state = {name: arrays[f"state/{name}"] for name in about["state"]}
                return about["rows"], state, about["wall_seconds"]
        except Exception as error:  # a damaged archive raises almost anything
            log.warning("%s cannot be read (%s): the run starts again", self._checkpoint, _first_line(error))
            return None

    def finish(self, status: str, rows: list[Row], wall_seconds: float) -> None:
        """Write the last metrics.csv, mark the run complete or diverged, remove the checkpoint."""
        if status not in FINISHED:
            raise ValueError(f"a run finishes as one of {FINISHED}, not {status}")
        self._write_metrics(rows)
        outcome = {"status": status, "tasks_done": len(rows), "wall_seconds": round(wall_seconds, 3)}
        _write_json(self._run, {**_read_run(self._run), **outcome})
        self.tidy()

    def tidy(self) -> None:
        """Remove what a crash may have left: temporary files and, once the run is finished, its checkpoint."""
        for leftover in self.path.glob(".*.tmp"):
            _remove(leftover)
        if self.status() in FINISHED:
            _remove(self._checkpoint)

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


def load_experiment(folder: Path, name: str | None = None, *, runs: Collection[str] | None = None) -> pd.DataFrame:
    """All runs under `folder`, finished or not, as one frame with one row per run and task, runs sorted by name.

    runs: the names of those that are wanted; all by default.

    Columns, in this order: those of metrics.csv; run, status, seed, data_description; the config, flattened with dots
    (learner.name, learner.step_size, data.source, network.width, scale, ...; lists as JSON text, a name that is taken
    already as config.<name>). A run that finished no task has a single row: task 0, nothing measured.

    Raises ConfigError when there are no runs (`name`: the experiment, for the command that would make them) or when a
    file is missing or damaged.
    """
    paths = sorted(path.parent for path in folder.glob("*/metrics.csv") if runs is None or path.parent.name in runs)
    if not paths:
        command = f"python -m cbp_experiments -m experiment={name or folder.name}"
        raise ConfigError(f"no runs in {folder}; make them with: {command}")
    facts_of_runs, tables = [], []
    for path in paths:
        run = _read_run(path / "run.json")
        table = _read_metrics(path / "metrics.csv", run)
        facts = {"run": path.name, **{key: run.get(key) for key in ("status", "seed", "data_description")}}
        taken = {*table, *facts}
        config = {key: value for key, value in _flatten(_read_config(path / "config.yaml")) if key != "seed"}
        facts_of_runs.append(facts | {f"config.{key}" if key in taken else key: value for key, value in config.items()})
        tables.append(table.assign(run=path.name))
    metrics = pd.concat(tables, ignore_index=True)
    metrics = metrics[[*metrics.columns.drop("run"), "run"]]
    return metrics.merge(pd.DataFrame(facts_of_runs), on="run", how="left", validate="many_to_one")


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a new file and put it in the place of `path`, on the disk before this returns.

    Raises ConfigError when the file cannot be written; the old one is still there then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as handle:
                write(handle)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


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


def _flatten(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.dumps(value) if isinstance(value, list) else value


def _read_run(path: Path) -> dict[str, Any]:
    with _reading(path):
        run = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(run, dict) or run.get("status") not in STATUSES or not isinstance(run.get("seed"), int):
            raise ValueError("no status or no seed in it")
    return run


def _read_config(path: Path) -> dict[str, Any]:
    with _reading(path):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or "name" not in (config.get("learner") or {}):
            raise ValueError("no learner.name in it")
    return config


def _read_metrics(path: Path, run: dict[str, Any]) -> pd.DataFrame:
    with _reading(path):
        text = path.read_text(encoding="utf-8")
        if not text.endswith("\n") or len({line.count(",") for line in text.splitlines()}) != 1:
            raise ValueError("a line is cut short")
        table = pd.read_csv(StringIO(text))
        if len(table) != run.get("tasks_done", len(table)):
            raise ValueError(f"{len(table)} tasks, but run.json says {run['tasks_done']}")
        if table.empty:
            return pd.DataFrame({"task": [0], "examples": [0]})
        if "task" not in table or not all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes):
            raise ValueError("a cell is no number, or there is no column of tasks")
    return table


def _write_json(path: Path, content: dict[str, Any]) -> None:
    ordered = {"status": content["status"], **content}
    write_atomically(path, lambda handle: handle.write((json.dumps(ordered, indent=2) + "\n").encode()))


def _remove(path: Path) -> None:
    with _writing(path):
        if os.path.exists(path):
            path.unlink(missing_ok=True)
            _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or _first_line(error)
        raise ConfigError(f"cannot write {path} ({reason}); choose another folder with results_dir=...") from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); delete its folder and run that run again"
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is damaged ({_first_line(error)}); run that run again with force=true") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
