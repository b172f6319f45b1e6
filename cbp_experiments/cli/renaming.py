"""Gives their present names to runs that an older version named (results/older.py).

In each experiment, planned.json gets the new names first. Then each run is renamed: its folder gets the new name,
config.yaml the kinds, and run.json the settings, which mark the run as renamed. After an interruption, the same command
continues. metrics.csv and the checkpoints do not change.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_object

from cbp_experiments.atomic import sync_folder
from cbp_experiments.errors import ConfigError
from cbp_experiments.results import (
    RunFolder,
    locked,
    older_runs,
    plan_of,
    run_name,
    write_atomically,
    write_plan,
)
from cbp_experiments.results.files import reading, write_json, writing
from cbp_experiments.results.naming import identity_of, with_kinds
from cbp_experiments.results.older import CLASSES, SECTIONS, older_name, with_engine
from cbp_experiments.results.overview import FIRST_NUMBERS
from cbp_experiments.results.run_folder import read_run
from cbp_experiments.training.job import meaning
from cbp_experiments.words import count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of scripts/rename_results.py. Returns the exit code: 2 if a run kept its older name."""
    parser = argparse.ArgumentParser(
        prog="rename_results", description="Give the runs of an older version their names."
    )
    parser.add_argument("folders", nargs="+", type=Path, help="results, or the folders of some experiments")
    options = parser.parse_args(arguments)
    sys.path.insert(0, "")  # the user's own classes are found from the current folder
    problems = [f"there is no folder {given}" for given in options.folders if not given.is_dir()]
    for folder in sorted({path.parents[1] for given in options.folders for path in given.rglob("run.json")}):
        try:
            problems += rename_experiment(folder)
        except ConfigError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if not problems:
        print("all runs have their present names")
    return 2 if problems else 0


def rename_experiment(folder: Path) -> list[str]:
    """Rename the older runs in `folder`, and print how many. Returns a line for each run that kept its name, with why.

    Raises ConfigError if the plan is damaged or the folder cannot be written.
    """
    older, problems = older_runs(folder), []
    if not older:
        return []
    with locked(folder, "planned.json"):
        rename_plan(folder)
        for name in older:
            try:
                rename(folder / name)
            except ConfigError as error:
                problems.append(str(error))
    print(f"{folder}: {count(len(older) - len(problems), 'run')} renamed")
    return problems


def rename(path: Path) -> None:
    """Rename one run; its folder may already have the new name.

    Raises ConfigError if the run is in progress, its folder is not named after it, one of its classes cannot be
    imported, or another folder has the new name.
    """
    run, config = read_run(path / "run.json"), read_config(path / "config.yaml")
    identity = identity_of(sections(config), present_meaning)
    present = path.with_name(run_name(identity, run["seed"]))
    if path.name not in (older_name(config, run["seed"]), present.name):
        raise ConfigError(f"{path} is not the folder of its run (a copy, or renamed); move it away")
    if path != present:
        if present.exists():
            raise ConfigError(f"{path} cannot become {present.name}, which is there already; move one of them away")
        if RunFolder(path).in_progress():
            raise ConfigError(f"{path} is in progress in another process; rename it afterwards")
        with writing(present):
            os.rename(path, present)
            sync_folder(path.parent)
    text = yaml.safe_dump(config | with_kinds(sections(config), present_meaning), sort_keys=False)
    write_atomically(present / "config.yaml", lambda handle: handle.write(text.encode()))
    write_json(present / "run.json", {**run, "numbers": FIRST_NUMBERS, "settings": identity})


def rename_plan(folder: Path) -> None:
    """Put the present names into planned.json, and print how many runs it loses.

    A setting's present name is known only if one of its seeds was trained. The sweep's command plans the others again.
    """
    plan, names, renamed = plan_of(folder), present_names(folder), {}
    for name, entry in plan.items():
        setting = name.rpartition("_seed")[0]
        if setting in names:
            renamed[f"{names[setting]}_seed{entry['seed']}"] = entry
        elif setting in names.values() or (folder / name).exists():
            renamed[name] = entry
    if renamed != plan:
        write_plan(folder, renamed)
    if lost := len(plan) - len(renamed):
        print(
            f"{folder}: {count(lost, 'planned run')} of which no seed was trained: the sweep's command plans them again"
        )


def present_names(folder: Path) -> dict[str, str]:
    """Map older names of runs in `folder` to present ones, both without the seed; leave out unreadable runs."""
    names = {}
    for path in folder.glob("*/config.yaml"):
        try:
            config = read_config(path)
            present = run_name(identity_of(sections(config), present_meaning), 0)
            names[older_name(config, 0).rpartition("_seed")[0]] = present.rpartition("_seed")[0]
        except ConfigError:  # `rename` reports it
            continue
    return names


def sections(config: dict[str, Any]) -> dict[str, Any]:
    return {section: with_engine(config)[section] for section in SECTIONS}


def present_meaning(target: str) -> tuple[str, dict[str, Any]]:
    """Return the kind and the neutral values of a class. Raises ConfigError if it cannot be imported."""
    if target in CLASSES:
        return CLASSES[target]
    try:
        get_object(target)
    except Exception as error:  # importing runs any code
        raise ConfigError(f"{target} cannot be imported; run this from the folder of its module") from error
    return meaning(target)


def read_config(path: Path) -> dict[str, Any]:
    with reading(path):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no settings in it")
        older_name(config, 0)
    return config
