"""Reads run.json of each run, without the tables of read_experiment; damaged files are skipped."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cbp_experiments.errors import ConfigError
from cbp_experiments.results.naming import RUN_NAME, canonical, run_name
from cbp_experiments.results.older import is_older
from cbp_experiments.results.run_folder import read_run

FIRST_NUMBERS = 1  # the version of the numerics before run.json recorded it


def recorded(path: Path) -> dict[str, Any] | None:
    """Read run.json in the folder of a run; None if it is missing or damaged."""
    try:
        return read_run(path / "run.json")
    except ConfigError:
        return None


def numbers_of(run: Mapping[str, Any]) -> int:
    """Return the version of the numerics that made a run, from its run.json."""
    return run.get("numbers", FIRST_NUMBERS)


def check_identity(path: Path, identity: Mapping[str, Any], seed: int) -> None:
    """Raise ConfigError if `path`, which is named after this identity and seed, holds another run."""
    run = recorded(path)
    if run is None or is_older(run):
        return
    if run["seed"] != seed or canonical(run["settings"]) != canonical(dict(identity)):
        raise ConfigError(f"{path} holds another run than its name says (a copy, or renamed); move it away")


def older_runs(folder: Path) -> list[str]:
    """List the runs of an experiment that an older version named (older.py), sorted."""
    runs = _recorded_in(folder)
    return sorted(name for name, run in runs.items() if RUN_NAME.fullmatch(name) and is_older(run))


def misnamed(folder: Path) -> list[str]:
    """List the folders of an experiment that are not named after their run, such as copies, sorted."""
    runs = _recorded_in(folder)
    return sorted(
        name
        for name, run in runs.items()
        if not RUN_NAME.fullmatch(name) or not (is_older(run) or run_name(run["settings"], run["seed"]) == name)
    )


def _recorded_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Read run.json of each run in the folder of an experiment, by the name of the run's folder."""
    if not os.path.isdir(folder):  # also if no folder can have such a name; `glob` would raise
        return {}
    runs = {path.parent.name: recorded(path.parent) for path in folder.glob("*/run.json")}
    return {name: run for name, run in runs.items() if run is not None}


def how_to_rename(folder: Path) -> str:
    """Return the command that gives the older runs in `folder` their present names."""
    return f"python scripts/rename_results.py {folder}"
