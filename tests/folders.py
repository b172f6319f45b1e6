"""Folders of runs made by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cbp_experiments.results import Row, RunFolder, run_name

Config = dict[str, Any]


def settings_of(config: Config) -> Config:
    """The sections of a config, all of which name its run."""
    return {key: value for key, value in config.items() if isinstance(value, dict)}


def folder_of(experiment: Path, config: Config) -> RunFolder:
    """The folder of the run with this config and seed."""
    return RunFolder(experiment / run_name(settings_of(config), config["seed"]))


def make_run(
    experiment: Path,
    config: Config,
    rows: Sequence[Row],
    facts: Config | None = None,
    *,
    status: str = "complete",
    seconds: float = 1.0,
) -> Path:
    """A finished run in the folder of its name, which is returned."""
    folder = folder_of(experiment, config)
    folder.begin(config, {"settings": settings_of(config), **(facts or {})}, restart=True)
    folder.finish(status, list(rows), seconds)
    return folder.path
