"""What an experiment consists of, trained or not: planned.json, which the commands write that train it.

    results/<experiment>/planned.json     {run: {"setting": "bp, learner.step_size=0.01", "seed": 3,
                                                  "scale": "laptop"}, ...}

Runs are only ever added to it, by several processes at once if need be, under a lock (locking.py).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from cbp_experiments.errors import ConfigError
from cbp_experiments.results.files import first_line, write_atomically, writing
from cbp_experiments.results.locking import locked

FILE = "planned.json"


class Planned(TypedDict):
    """A run: what tells its setting from the others of the experiment, its learner first, and its seed."""

    setting: str
    seed: int
    scale: str


def add_to_plan(folder: Path, runs: Mapping[str, Planned]) -> None:
    """Add runs, by name, to the plan of the experiment in `folder`; nothing is written when it knows them all.

    Raises ConfigError when the file is damaged or cannot be written, or another process keeps the lock.
    """
    if runs.keys() <= plan_of(folder).keys():
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, FILE):
        write_plan(folder, {**runs, **plan_of(folder)})  # an entry that is there stays as it is


def write_plan(folder: Path, plan: Mapping[str, Planned]) -> None:
    """Replace the plan of the experiment in `folder`, whose lock the caller holds."""
    text = json.dumps(dict(sorted(plan.items())), indent=1) + "\n"
    write_atomically(folder / FILE, lambda handle: handle.write(text.encode()))


def plan_of(folder: Path) -> dict[str, Planned]:
    """The plan of the experiment in `folder`; empty where there is none. Raises ConfigError when it is damaged."""
    path = folder / FILE
    try:
        plan: Any = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(plan, dict) or not all(map(_is_entry, plan.values())):
            raise ValueError("not a setting, a seed and a scale for each run")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({first_line(error)}); delete it, the command of its sweep makes it again"
        ) from error
    return plan


def _is_entry(entry: object) -> bool:
    kinds = {"setting": str, "seed": int, "scale": str}
    return isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in kinds.items())
