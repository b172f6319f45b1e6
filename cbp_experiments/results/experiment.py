"""The runs of an experiment, read back as one table."""

import json
from collections.abc import Collection, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cbp_experiments.errors import ConfigError
from cbp_experiments.results.files import reading
from cbp_experiments.results.run_folder import read_run


def load_experiment(folder: Path, name: str | None = None, *, runs: Collection[str] | None = None) -> pd.DataFrame:
    """All runs under `folder`, finished or not, as one frame with one row per run and task, runs sorted by name.

    runs: the names of those that are wanted, none of which may be missing; all that are there by default.

    Columns, in this order: those of metrics.csv; run, status, seed, data_description; the config, flattened with dots
    (learner.name, learner.step_size, data.source, network.width, scale, ...; lists as JSON text, a name that is taken
    already as config.<name>). A run that finished no task has a single row: task 0, nothing measured.

    Raises ConfigError when there are no runs (`name`: the experiment, for the command that would make them) or when a
    file is missing or damaged.
    """
    found = (path.parent for path in folder.glob("*/metrics.csv"))
    paths = sorted(found if runs is None else (folder / run for run in runs))
    if not paths:
        command = f"python -m cbp_experiments -m experiment={name or folder.name}"
        raise ConfigError(f"no runs in {folder}; make them with: {command}")
    facts_of_runs, tables = [], []
    for path in paths:
        run = read_run(path / "run.json")
        table = _read_metrics(path / "metrics.csv", run)
        facts = {"run": path.name, **{key: run.get(key) for key in ("status", "seed", "data_description")}}
        taken = {*table, *facts}
        config = {key: value for key, value in _flatten(_read_config(path / "config.yaml")) if key != "seed"}
        facts_of_runs.append(facts | {f"config.{key}" if key in taken else key: value for key, value in config.items()})
        tables.append(table.assign(run=path.name))
    metrics = pd.concat(tables, ignore_index=True)
    metrics = metrics[[*metrics.columns.drop("run"), "run"]]
    return metrics.merge(pd.DataFrame(facts_of_runs), on="run", how="left", validate="many_to_one")


def load_facts(folder: Path) -> pd.DataFrame:
    """What run.json says of each run under `folder` that has a metrics.csv: one row a run, sorted by name.

    Columns: run; those of run.json, flattened with dots (status, wall_seconds, git_commit, versions.torch, ...). Raises
    ConfigError when a file is missing or damaged.
    """
    paths = sorted(path.with_name("run.json") for path in folder.glob("*/metrics.csv"))
    return pd.DataFrame([{"run": path.parent.name, **dict(_flatten(read_run(path)))} for path in paths])


def _flatten(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.dumps(value) if isinstance(value, list) else value


def _read_config(path: Path) -> dict[str, Any]:
    with reading(path):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or "name" not in (config.get("learner") or {}):
            raise ValueError("no learner.name in it")
    return config


def _read_metrics(path: Path, run: dict[str, Any]) -> pd.DataFrame:
    with reading(path):
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
