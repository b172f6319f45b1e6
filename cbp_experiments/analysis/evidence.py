"""Loads an experiment or a tuning for figures and report: its runs, which of them are missing, and any problem."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cbp_experiments.analysis.tenths import mixed, settings, show
from cbp_experiments.errors import ConfigError
from cbp_experiments.results import plan_of, read_experiment, results_dir_option
from cbp_experiments.results.files import exists, reading
from cbp_experiments.results.tuned import CHOICE, RUN, SETTINGS, read_choice, read_settings
from cbp_experiments.scores import score_of
from cbp_experiments.words import count

MOST = 4  # settings that a line names at most
SCALES = ("paper", "laptop", "smoke")
TUNING = "tuning/"  # how the names of tunings begin
TUNED_LEARNERS = ("bp", "linear", "l2", "snp", "dropout", "onlinenorm", "adam", "cbp")
TUNE = "python -m cbp_experiments tune -m tuning="


class Missing(NamedTuple):
    """A run that is missing."""

    learner: str
    setting: str
    seed: int


@dataclass(frozen=True)
class Evidence:
    """An experiment. frame: as `results.load_experiment` returns it; None if there is nothing, and `problem` says why.

    facts: of its runs, as `results.read_experiment` returns them. absent: requested learners without any known run.
    other_scales: the scales of runs that are not in the frame, which holds one scale only. left_out: one sentence for
    each reason why folders do not count as runs. For a tuning, `load_tuning` describes the frame.
    """

    name: str
    frame: pd.DataFrame | None = None
    missing: list[Missing] = field(default_factory=list)
    problem: str = ""
    facts: pd.DataFrame = field(default_factory=pd.DataFrame)
    absent: tuple[str, ...] = ()
    other_scales: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def is_tuning(self) -> bool:
        return self.name.startswith(TUNING)

    @property
    def remarks(self) -> list[str]:
        """Remarks on its runs, one sentence each: folders left out, mixed versions of the numerics."""
        return [] if self.frame is None else [*self.left_out, *mixed(self.frame)]

    @property
    def gaps(self) -> str:
        """What is missing from the experiment, in words; empty if nothing is."""
        absent = f"all runs of {', '.join(self.absent)}" if self.absent else ""
        return "; ".join(filter(None, [listed(self.missing), absent]))

    def of(self, learners: Collection[str]) -> "Evidence":
        """Return the part for these learners; everything if there are none."""
        if self.frame is None or not learners:
            return self
        frame = self.frame[self.frame["learner.name"].isin(list(learners))].reset_index(drop=True)
        missing = [run for run in self.missing if run.learner in learners]
        if frame.empty:
            return Evidence(self.name, None, missing, f"no runs of {', '.join(learners)} in {self.name}")
        facts = self.facts[self.facts["run"].isin(frame["run"])] if len(self.facts) else self.facts
        known = {*frame["learner.name"], *(run.learner for run in missing)}
        absent = tuple(learner for learner in learners if learner not in known)
        return replace(self, frame=frame, missing=missing, facts=facts, absent=absent)


def load_evidence(results_dir: Path, scale: str | None, name: str) -> Evidence:
    """Load the experiment `name` under `results_dir`. If it is missing or damaged, `problem` says so; never raises.

    scale: the scale of the runs; None: the largest scale that has runs. A tuning is loaded at the scale it has.
    """
    if name.startswith(TUNING):
        return load_tuning(results_dir, name)
    folder = results_dir / name
    try:
        found = read_experiment(folder, name)
        whole, facts, left_out = found.frame, found.facts, tuple(found.left_out)
        if "scale" not in whole:
            return Evidence(name, whole, missing_runs(folder, whole), facts=facts, left_out=left_out)
        scales = sorted(whole["scale"].unique(), key=lambda s: SCALES.index(s) if s in SCALES else len(SCALES))
        chosen = scale or scales[0]
        if chosen not in scales:
            problem = f"no runs of {name} at scale {chosen} in {results_dir}, but at {', '.join(scales)}"
            return Evidence(name, problem=problem, other_scales=tuple(scales))
        frame = whole[whole["scale"] == chosen].reset_index(drop=True)
        facts = facts[facts["run"].isin(frame["run"])].reset_index(drop=True)
        others = tuple(other for other in scales if other != chosen)
        return Evidence(name, frame, missing_runs(folder, frame), facts=facts, other_scales=others, left_out=left_out)
    except ConfigError as error:
        return Evidence(name, problem=str(error))


def load_tuning(results_dir: Path, name: str) -> Evidence:
    """Load what the tuning `name` ("tuning/...") tried: settings.csv of all learners in one frame, one row per run.

    Columns: the score over all tasks and last_tenth (NaN for a run that diverged), tasks, chosen (whether choice.yaml
    has its setting), run, status, seed, numbers, learner.name; then the keys tried, NaN if a learner does not have one.
    """
    try:
        folders = sorted(path.parent for path in (results_dir / name).glob(f"*/{SETTINGS}"))
        if not folders:
            learners = f"learner={','.join(TUNED_LEARNERS)}"
            command = f"{TUNE}{name.removeprefix(TUNING)} {learners}{results_dir_option(results_dir)}"
            raise ConfigError(f"no runs in {results_dir / name}; make them with: {command}")
        frame = pd.concat([_tried(folder) for folder in folders], ignore_index=True)
        undecided = [folder.name for folder in folders if not exists(folder / CHOICE)]
        remarks = [f"nothing is chosen yet for {', '.join(undecided)}"] if undecided else []
        return Evidence(
            name, frame, _lacking_seeds(frame), facts=frame[[RUN, "status", "numbers"]], left_out=tuple(remarks)
        )
    except ConfigError as error:
        return Evidence(name, problem=str(error))


def _tried(folder: Path) -> pd.DataFrame:
    """Load the rows of one learner for `load_tuning`."""
    with reading(folder / SETTINGS):
        table = pd.DataFrame(read_settings(folder)).replace("", None)
        if table.empty:
            raise ValueError("no rows")
        score = score_of(table.columns).column
        counts = table[[score, "last_tenth", "tasks", "seed", "numbers"]].apply(pd.to_numeric)
    keys = table.iloc[:, 1 : table.columns.get_loc("seed")].apply(_numbers)
    values = read_choice(folder).values if exists(folder / CHOICE) else {}
    chosen = (keys == pd.Series({key: values.get(key) for key in keys})).all(axis=1)
    facts = [counts[[score, "last_tenth", "tasks"]], chosen.rename("chosen"), table[[RUN, "status"]]]
    name = pd.Series(folder.name, table.index, name="learner.name")
    return pd.concat([*facts, counts[["seed", "numbers"]], name, keys], axis=1)


def _numbers(column: pd.Series) -> pd.Series:
    """Convert the column to numbers, unless it has text."""
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column


def missing_runs(folder: Path, frame: pd.DataFrame) -> list[Missing]:
    """List the planned runs that have no metrics.csv, sorted by setting and seed.

    frame: the existing runs; only plans for their scales count. Without a plan, list the seeds that a setting lacks and
    others have.
    """
    if plan := plan_of(folder):
        scales = set(frame["scale"]) if "scale" in frame else {entry["scale"] for entry in plan.values()}
        at_scale = {name: entry for name, entry in plan.items() if entry["scale"] in scales}
        gone = [entry for name, entry in at_scale.items() if not (folder / name / "metrics.csv").exists()]
        return sorted(Missing(e["setting"].partition(",")[0], e["setting"], e["seed"]) for e in gone)
    return _lacking_seeds(frame)


def listed(missing: Sequence[Missing]) -> str:
    """Format as "3 runs (bp, learner.step_size=0.01: seeds 1, 2; cbp: seed 0)"; empty if nothing is missing."""
    if not missing:
        return ""
    parts = []
    for setting, runs in groupby(missing, key=lambda run: run.setting):
        seeds = [str(run.seed) for run in runs]
        parts.append(f"{setting}: {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}")
    more = [f"{len(parts) - MOST} more settings"] if len(parts) > MOST else []
    return f"{count(len(missing), 'run')} ({'; '.join([*parts[:MOST], *more])})"


def _lacking_seeds(frame: pd.DataFrame) -> list[Missing]:
    by, runs = settings(frame), frame.drop_duplicates("run").reset_index(drop=True)
    scales = runs["scale"] if "scale" in runs else pd.Series("", runs.index)
    missing = []
    for key, group in runs.groupby(by, dropna=False):
        peers = runs[runs["learner.name"] == key[0]]
        differing = [(n, v) for n, v in zip(by[1:], key[1:], strict=True) if peers[n].nunique(dropna=False) > 1]
        setting = ", ".join([str(key[0]), *(f"{name}={show(value)}" for name, value in differing)])
        seeds = set(runs.loc[scales == scales[group.index[0]], "seed"])
        missing += [Missing(str(key[0]), setting, seed) for seed in sorted(seeds - set(group["seed"]))]
    return missing
