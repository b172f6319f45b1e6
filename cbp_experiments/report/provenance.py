"""Where the runs of a figure come from: the command, how many there are, how long they took, and the versions."""

from dataclasses import dataclass

import pandas as pd

from cbp_experiments.analysis.evidence import TUNE, TUNING, Evidence
from cbp_experiments.analysis.tenths import show
from cbp_experiments.figures.captions import about, fallen, tried
from cbp_experiments.words import count, duration

COMMAND = "python -m cbp_experiments -m experiment="
COMMIT_DIGITS = 12


@dataclass(frozen=True)
class Made:
    """The runs of an experiment, in words.

    what: seeds, data, sizes, and how many runs collapsed. time: the sum over the runs, which may have been trained side
    by side. For a tuning, time and commits are empty, because its tables do not have them.
    """

    command: str
    what: str
    runs: str
    time: str
    versions: str
    commits: str


def made(source: Evidence) -> Made:
    """Describe the runs of an experiment from run.json, or those of a tuning from its tables. There must be runs."""
    assert source.frame is not None
    facts = source.facts
    if source.is_tuning:
        learners = ",".join(source.frame["learner.name"].unique())
        command = f"{TUNE}{source.name.removeprefix(TUNING)} learner={learners}"
        runs = f"{count(len(facts), 'run')}; results/{source.name}/LEARNER/settings.csv"
        versions = f"version {_distinct(facts, 'numbers')} of the numerics"
        return Made(command, tried(source.frame), runs, time="", versions=versions, commits="")
    status = facts["status"].value_counts()
    others = [f"{status[name]} of them {name}" for name in ("incomplete", "diverged") if name in status]
    runs = ", ".join([count(len(facts), "run"), *others])
    seconds = facts["wall_seconds"].sum() if "wall_seconds" in facts else 0.0
    names = [column for column in facts if column.startswith("versions.")]
    parts = [f"{name.removeprefix('versions.')} {text}" for name in names if (text := _distinct(facts, name))]
    engines = [f"engine {_distinct(facts, 'engine')}", f"on {_distinct(facts, 'device')}"]
    commits = _distinct(facts, "git_commit", COMMIT_DIGITS) or "none recorded"
    return Made(
        f"{COMMAND}{source.name}{_scale(source.frame)}", f"{about(source.frame)}{fallen(source.frame)}", runs,
        duration(seconds), ", ".join([*parts, " ".join(engines)]), commits,
    )  # fmt: skip


def _scale(frame: pd.DataFrame) -> str:
    scales = [scale for scale in frame["scale"].unique() if scale != "laptop"] if "scale" in frame else []
    return "".join(f" scale={scale}" for scale in scales[:1])


def _distinct(facts: pd.DataFrame, column: str, characters: int | None = None) -> str:
    """Join the distinct values of a column. characters: for commits, how many to show; says if files differed, too."""
    if column not in facts:
        return ""
    values = dict.fromkeys(show(value) for value in facts[column].dropna())
    return " / ".join(dict.fromkeys(_short(value, characters) for value in values))


def _short(value: str, characters: int | None) -> str:
    changed = ", with changes" if characters and value.endswith("-dirty") else ""
    return value[:characters] + changed
