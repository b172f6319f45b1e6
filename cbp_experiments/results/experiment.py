"""Reads the runs of an experiment as one table.

pandas is slow to import, so the functions that need it import it: code that only writes results does without.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from cbp_experiments.errors import ConfigError
from cbp_experiments.results.files import reading
from cbp_experiments.results.naming import KIND, RUN_NAME, TARGET, canonical, flatten, run_name
from cbp_experiments.results.older import is_older, older_name, with_older_kinds
from cbp_experiments.results.overview import numbers_of
from cbp_experiments.results.run_folder import read_run
from cbp_experiments.words import some

if TYPE_CHECKING:
    import pandas as pd

AT_A_TIME = 256  # files whose text is in memory at once
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first is ten times faster, but not always installed


@dataclass(frozen=True)
class Experiment:
    """The runs of an experiment.

    frame: one row per run and task, as `load_experiment` returns it. facts: one row per run: its name (run) and the
    keys of run.json except `settings`, flattened with dots (status, wall_seconds, git_commit, versions.torch, ...).
    left_out: one sentence for each reason why folders were left out.
    """

    frame: pd.DataFrame
    facts: pd.DataFrame
    left_out: list[str]


@dataclass(frozen=True)
class _Run:
    """A run as read from its files. facts: run.json. config: config.yaml; text: its text without the seed."""

    path: Path
    facts: dict[str, Any]
    config: dict[str, Any]
    text: str

    @property
    def name(self) -> str:
        return self.path.name


def load_experiment(folder: Path, name: str | None = None, *, runs: Collection[str] | None = None) -> pd.DataFrame:
    """Return only the frame of `read_experiment`."""
    return read_experiment(folder, name, runs=runs).frame


def read_experiment(folder: Path, name: str | None = None, *, runs: Collection[str] | None = None) -> Experiment:
    """Read all runs under `folder`, finished or not, sorted by name; one row per run and task.

    runs: the names of the runs to read, all of which must exist; by default, all runs. A folder that is not named after
    its run (a copy, say) is left out, and so is a second run with the same settings and seed.

    Columns, in this order: those of metrics.csv; run, status, seed, numbers (the version of the numerics), classes (of
    the stream: chance is 100 / classes percent), data_description; the config, flattened with dots (learner.name,
    learner.step_size, data.source, network.width, scale, ...; a list is JSON text; a name that is already taken becomes
    config.<name>). A key that was added after a run was made has its neutral value. A run that finished no task has a
    single row: task 0, nothing measured.

    Raises ConfigError if there are no runs (name: the experiment, for the command in the message), if a file is missing
    or damaged, or if a folder among `runs` is not named after its run.
    """
    import pandas as pd

    found, strangers = _read_runs(run_folders(folder, name) if runs is None else sorted(map(folder.joinpath, runs)))
    if strangers and (runs is not None or not found):
        raise ConfigError(f"{folder / strangers[0]} is not the folder of its run (a copy, or renamed); move it away")
    twins = _twins(found)
    found = [run for run in found if run.name not in twins]
    reasons = {
        "its name is not that of its run": strangers,
        "another folder has the same settings and seed": sorted(twins),
    }
    return Experiment(
        _frame(found),
        pd.DataFrame([{"run": run.name, **dict(flatten(run.facts, leave_out=("settings",)))} for run in found]),
        [f"left out ({reason}): {some(names)}" for reason, names in reasons.items() if names],
    )


def load(*folders: str | Path) -> pd.DataFrame:
    """Return the runs in the folders of one or several experiments as one table, as in `read_experiment`.

    Raises ConfigError if a folder has no runs or a damaged one.
    """
    return joined([load_experiment(Path(folder)) for folder in folders])


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join the frames of several experiments into one, metrics first; a run that several of them have counts once."""
    import pandas as pd

    metrics = dict.fromkeys(name for frame in frames for name in frame.columns[: frame.columns.get_loc("run")])
    others = dict.fromkeys(name for frame in frames for name in frame.columns[frame.columns.get_loc("run") :])
    seen: set[str] = set()
    parts = []
    for frame in frames:
        parts.append(frame[~frame["run"].isin(seen)])
        seen |= set(frame["run"])
    return pd.concat(parts, ignore_index=True)[[*metrics, *(name for name in others if name not in metrics)]]


def run_folders(folder: Path, name: str | None = None) -> list[Path]:
    """List the folders under `folder` with a metrics.csv, sorted. Raises ConfigError if there are none."""
    if paths := sorted(path.parent for path in folder.glob("*/metrics.csv")):
        return paths
    name = name or folder.name
    results_dir = Path(*folder.parts[: -len(Path(name).parts)])
    command = f"python -m cbp_experiments -m experiment={name}{results_dir_option(results_dir)}"
    raise ConfigError(f"no runs in {folder}; make them with: {command}")


def results_dir_option(results_dir: Path) -> str:
    """Return the option, after a space, with which a command finds results outside results/; else empty."""
    return "" if results_dir == Path("results") else f" results_dir={results_dir}"


def _read_runs(paths: Sequence[Path]) -> tuple[list[_Run], list[str]]:
    """Read the runs in these folders; also return the names of folders that are not named after their run."""
    configs: dict[str, dict[str, Any]] = {}  # parsed, by their text
    runs, strangers = [], []
    for path in paths:
        if not RUN_NAME.fullmatch(path.name):
            strangers.append(path.name)
            continue
        facts = read_run(path / "run.json")
        with reading(path / "config.yaml"):
            text = re.sub(r"^seed: .*\n", "", (path / "config.yaml").read_text(encoding="utf-8"), flags=re.MULTILINE)
            if text not in configs:
                configs[text] = _parsed(text, facts.get("settings", {}))
            config = configs[text]
            seed = facts["seed"]
            called = older_name(config, seed) if is_older(facts) else run_name(facts["settings"], seed)
        if called == path.name:
            runs.append(_Run(path, facts, config, text))
        else:
            strangers.append(path.name)
    return _with_flat_configs(runs), strangers


def _parsed(text: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Parse config.yaml. Raises ValueError if it differs from the settings in run.json."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, LOADER)):
        raise ValueError("an alias in it, which a few lines can make a text of gigabytes")
    config = yaml.load(text, LOADER)
    learner = config.get("learner") if isinstance(config, dict) else None
    if not isinstance(learner, dict) or not isinstance(learner.get("name"), str):
        raise ValueError("no learner.name in it")
    there = dict(flatten(config))
    if other := [key for key, value in flatten(settings) if key not in there or there[key] != value]:
        raise ValueError(f"{other[0]} is not as in run.json")
    return config


def _with_flat_configs(runs: Sequence[_Run]) -> list[_Run]:
    """Flatten the configs; keys that were added after a run was made get their neutral values.

    If another run has a value in config.yaml but not in `settings`, that value is neutral for classes of its kind.
    """
    of_text = {run.text: run for run in runs}
    flat = {
        text: dict(flatten(with_older_kinds(run.config) if is_older(run.facts) else run.config, leave_out=(TARGET,)))
        for text, run in of_text.items()
    }
    neutral: dict[tuple[str, Any], dict[str, Any]] = {}  # by section and kind
    for text, run in of_text.items():
        settings = run.facts.get("settings", {})
        named = dict(flatten(settings))
        for key, value in flat[text].items():
            section = key.partition(".")[0]
            if section in settings and key not in named:
                neutral.setdefault((section, flat[text].get(f"{section}.{KIND}")), {})[key] = value
    for config in flat.values():
        for (section, kind), values in neutral.items():
            if config.get(f"{section}.{KIND}") == kind:
                config |= {key: value for key, value in values.items() if key not in config}
    return [_Run(run.path, run.facts, flat[run.text], run.text) for run in runs]


def _twins(runs: Sequence[_Run]) -> set[str]:
    """Return the older runs that also exist under their present name."""
    if not any(is_older(run.facts) for run in runs):
        return set()
    circumstances = ("experiment", "scale")
    text = {run.text: canonical({k: v for k, v in run.config.items() if k not in circumstances}) for run in runs}
    present = {(text[run.text], run.facts["seed"]) for run in runs if not is_older(run.facts)}
    return {run.name for run in runs if is_older(run.facts) and (text[run.text], run.facts["seed"]) in present}


def _frame(runs: Sequence[_Run]) -> pd.DataFrame:
    import pandas as pd

    metrics, position = _read_metrics(runs)
    known = [
        {
            "run": run.name,
            "status": run.facts["status"],
            "seed": run.facts["seed"],
            "numbers": numbers_of(run.facts),
            "classes": run.facts.get("classes"),
            "data_description": run.facts.get("data_description"),
        }
        for run in runs
    ]
    taken = {*metrics, *known[0]}
    renamed: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.text not in renamed:
            config = {key: value for key, value in run.config.items() if key != "seed"}
            renamed[run.text] = {f"config.{key}" if key in taken else key: value for key, value in config.items()}
    about = pd.DataFrame([facts | renamed[run.text] for facts, run in zip(known, runs, strict=True)])
    return pd.concat([metrics, about.iloc[position].reset_index(drop=True)], axis=1)


def _read_metrics(runs: Sequence[_Run]) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the rows of all runs, one run after the other; also return the index of each row's run: int64 `[rows]`."""
    import pandas as pd

    tables, rows = [], []
    for start in range(0, len(runs), AT_A_TIME):
        part = runs[start : start + AT_A_TIME]
        texts = [_text(run) for run in part]
        rows += [len(lines) for _, lines in texts]
        for header, group in groupby(zip(part, texts, strict=True), key=lambda item: item[1][0]):
            members = list(group)
            try:  # all at once, which is many times faster than one by one
                tables.append(_parse_metrics(header, [line for _, (_, lines) in members for line in lines]))
            except ValueError:
                for run, (_, lines) in members:
                    with reading(run.path / "metrics.csv"):
                        tables.append(_parse_metrics(header, lines))
    return pd.concat(tables, ignore_index=True), np.repeat(np.arange(len(runs)), rows)


def _text(run: _Run) -> tuple[str, list[str]]:
    """Return the header and the lines of metrics.csv; if it has no lines, one for task 0.

    Rows are appended during training, so the last line of an incomplete run may be cut short; it is dropped.
    """
    path, done = run.path / "metrics.csv", run.facts.get("tasks_done")
    with reading(path):
        *lines, rest = path.read_text(encoding="utf-8").split("\n")
        if (rest and run.facts["status"] != "incomplete") or len({line.count(",") for line in lines}) > 1:
            raise ValueError("a line is cut short")
        if done is not None and len(lines) != done + 1:
            raise ValueError(f"{len(lines) - 1} tasks, but run.json says {done}")
    return (lines[0], lines[1:]) if len(lines) > 1 else ("task,examples", ["0,0"])


def _parse_metrics(header: str, lines: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    table = pd.read_csv(StringIO("\n".join([header, *lines])))
    if "task" not in table or not all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes):
        raise ValueError("a cell is no number, or there is no column of tasks")
    return table
