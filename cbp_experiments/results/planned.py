"""The plan of an experiment: planned.json lists its runs, trained or not. The commands that train them write it.

    results/<experiment>/planned.json     {run: {"setting": "bp, learner.step_size=0.01", "seed": 3,
                                                  "scale": "laptop"}, ...}

Training only adds runs, under a lock (locking.py), since several processes may write at once.
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
    """A planned run. setting: its learner, then what distinguishes it from the experiment's other settings."""

    setting: str
    seed: int
    scale: str


def add_to_plan(folder: Path, runs: Mapping[str, Planned]) -> None:
    """Add runs, by name, to the plan of the experiment in `folder`; write nothing if it has them all.

    Raises ConfigError if the file is damaged or cannot be written, or another process keeps the lock.
    """
    if runs.keys() <= plan_of(folder).keys():
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, FILE):
        write_plan(folder, {**runs, **plan_of(folder)})  # existing entries do not change


def write_plan(folder: Path, plan: Mapping[str, Planned]) -> None:
    """Replace the plan of the experiment in `folder`; the caller holds its lock."""
    text = json.dumps(dict(sorted(plan.items())), indent=1) + "\n"
    write_atomically(folder / FILE, lambda handle: handle.write(text.encode()))


def plan_of(folder: Path) -> dict[str, Planned]:
    """Read the plan of the experiment in `folder`; empty if there is none. Raises ConfigError if it is damaged."""
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
