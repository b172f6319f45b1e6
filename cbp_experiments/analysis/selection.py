"""Selects the runs that the commands `plot` and `table` show."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import yaml

from cbp_experiments.analysis.evidence import Evidence, load_evidence
from cbp_experiments.analysis.tenths import settings, show
from cbp_experiments.errors import ConfigError
from cbp_experiments.results import joined
from cbp_experiments.words import some


@dataclass(frozen=True)
class Selection:
    """The selected runs. frame: of all folders, as `results.load_experiment` returns it; by: as `tenths.settings`."""

    folders: list[Path]
    frame: pd.DataFrame
    sources: list[Evidence]
    by: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="an experiment: results/demo, or demo")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="where experiments are (%(default)s)")
    parser.add_argument("--scale", help="of the runs; by default the largest at which a folder has some")
    parser.add_argument(
        "--by", type=names, metavar="KEY,...", help="what tells settings apart; by default what differs"
    )
    parser.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE,...", help="only these runs; can be repeated"
    )


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def select(options: argparse.Namespace) -> Selection:
    """Load the runs that the options of `add_arguments` name.

    Raises ConfigError for a folder without runs, an unknown key, a condition that no run meets, or runs of one setting
    that differ in a key that `--by` does not name.
    """
    folders = [_found(folder, options.results_dir) for folder in options.folders]
    sources = [_evidence(folder, options.results_dir, options.scale) for folder in folders]
    frame = joined([source.frame for source in sources if source.frame is not None])
    for condition in options.where:
        frame = _where(frame, condition)
    shown = [_only(source, frame) for source in sources]
    return Selection(folders, frame, [source for source in shown if source.frame is not None], _by(frame, options.by))


def _found(folder: Path, results_dir: Path) -> Path:
    for path in (folder, results_dir / folder):
        if path.is_dir():
            return path
    raise ConfigError(f"there is no folder {folder}, nor {results_dir / folder}")


def _evidence(folder: Path, results_dir: Path, scale: str | None) -> Evidence:
    inner = dict.fromkeys(str(path.parent.parent) for path in sorted(folder.glob("*/*/metrics.csv")))
    if inner and not any(folder.glob("*/metrics.csv")):
        raise ConfigError(f"no runs in {folder}; name one of the experiments in it: {', '.join(inner)}")
    inside = folder.resolve().is_relative_to(results_dir.resolve())
    name = folder.resolve().relative_to(results_dir.resolve()).as_posix() if inside else folder.name
    found = load_evidence(results_dir if inside else folder.parent, scale, name)
    if found.frame is None:
        raise ConfigError(found.problem)
    return found


def _only(source: Evidence, frame: pd.DataFrame) -> Evidence:
    """Return the part of a source that is in the frame."""
    assert source.frame is not None
    part = source.frame[source.frame["run"].isin(frame["run"])]
    whole = len(part) == len(source.frame)
    missing = source.missing if whole else []  # which of them the conditions ask for is not known
    return replace(source, frame=None if part.empty else part.reset_index(drop=True), missing=missing)


def _where(frame: pd.DataFrame, condition: str) -> pd.DataFrame:
    key, equals, text = condition.partition("=")
    if not equals:
        raise ConfigError(f"--where {condition}: write KEY=VALUE or KEY=VALUE,VALUE")
    _check_key(frame, key, "--where")
    wanted = [yaml.safe_load(value) for value in text.split(",")]
    kept = frame[frame[key].isin(wanted) | frame[key].astype(str).isin(text.split(","))]
    if kept.empty:
        there = [show(value) for value in frame[key].drop_duplicates()]
        raise ConfigError(f"--where {condition}: no run has that; {key} is {some(there)}")
    return kept.reset_index(drop=True)


def _check_key(frame: pd.DataFrame, key: str, option: str) -> None:
    config = list(frame.columns[frame.columns.get_loc("run") + 1 :])
    if key not in config:
        differing = [name for name in settings(frame) if name in config]
        raise ConfigError(f"{option} {key}: runs have no such key; they differ in {', '.join(differing)}")


def _by(frame: pd.DataFrame, names: Sequence[str] | None) -> list[str]:
    differing = settings(frame)
    if names is None:
        return differing
    for name in names:
        _check_key(frame, name, "--by")
    by = list(dict.fromkeys(["learner.name", *names]))
    runs = frame.drop_duplicates("run")
    for name in (name for name in differing if name not in by):
        if (runs.groupby(by, dropna=False)[name].nunique(dropna=False) > 1).any():
            values = [show(value) for value in runs[name].drop_duplicates().sort_values(key=_numbers)]
            first = f"--where {name}={values[0]}"
            raise ConfigError(
                f"--by {','.join(names)}: runs of one setting differ in {name} ({some(values)}); "
                f"add it to --by, or choose some: {first}"
            )
    return by


def _numbers(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values, errors="coerce")  # texts and lists come last
