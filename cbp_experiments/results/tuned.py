"""The files of a tuning: every setting that was tried, and the one that was chosen.

    results/tuning/<name>/<learner>/settings.csv    a row a run: the values tried, seed, accuracies
                                    choice.yaml     what `tuned=<name>` takes

A run that settings.csv has is finished, whether its folder is there or not. The folders are for resuming; these two
files are what remains of them.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from io import StringIO
from operator import methodcaller
from pathlib import Path
from typing import Any

import yaml

from cbp_experiments.errors import ConfigError
from cbp_experiments.results.files import exists, first_line, reading, write_atomically
from cbp_experiments.results.provenance import NUMBERS
from cbp_experiments.scores import SCORES

SETTINGS, CHOICE = "settings.csv", "choice.yaml"
# Columns of settings.csv beside the values tried, which stand between the first and the others, and the score over all
# tasks, which stands after the status under its own name.
RUN, FACTS = "run", ("seed", "status", "last_tenth", "tasks", "numbers")


NEEDED = {"learner", "values", "seeds", "tasks", "settings"}  # keys of choice.yaml, beside the score


@dataclass(frozen=True)
class Choice:
    """What a tuning has chosen for a learner.

    values: by key, all that tells the learner from a neutral one, and what else was tried. seeds: those of the tuning.
    size: of the stream and the network, by key. score: over all `tasks` tasks, mean over the seeds; measure: the column
    that it is of. settings: how many were tried. second: the next best setting, and how much better the best is, paired
    by seed: mean, low and high of the 95 % interval. at_edge: the keys whose chosen value is the lowest or highest
    tried, and the value to add.
    """

    learner: str
    values: dict[str, Any]
    seeds: list[int]
    tasks: int
    settings: int
    score: float
    measure: str = "accuracy"
    size: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] = field(default_factory=dict)
    at_edge: dict[str, float] = field(default_factory=dict)


def check_name(value: object) -> str:
    """The name of a tuning. Raises ConfigError for what cannot be one."""
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w.-]*", value):
        raise ConfigError(f"tuned={value}: it names a folder below results_dir/tuning; use letters, digits, _ - and .")
    return value


def tuning_folder(results_dir: Path, name: str, learner: str) -> Path:
    return results_dir / "tuning" / name / learner


def read_choice(folder: Path) -> Choice:
    """The choice in the folder of a tuning. Raises ConfigError when it is missing or damaged."""
    path = folder / CHOICE
    with reading(path), _kept(path):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = {each.name for each in fields(Choice)} - {"score", "measure"}
        measure = next((column for column in SCORES if isinstance(content, dict) and column in content), None)
        if measure is None or not NEEDED <= content.keys() - {measure} <= names:
            raise _Damaged(f"not the keys {', '.join(sorted(NEEDED))} and a score")
        choice = Choice(score=content.pop(measure), measure=measure, **content)
        if not isinstance(choice.values, dict) or not isinstance(choice.seeds, list):
            raise _Damaged("no values, or no seeds")
    return choice


def write_choice(folder: Path, choice: Choice) -> None:
    head = f"# The command `tune` writes it from {SETTINGS}; tuned={folder.parent.name} takes the values.\n"
    content: dict[str, Any] = {}
    for key, value in asdict(choice).items():
        content |= {choice.measure: value} if key == "score" else {} if key == "measure" else {key: value}
    _write(folder / CHOICE, head + yaml.safe_dump(content, sort_keys=False, width=120))


def read_settings(folder: Path) -> list[dict[str, str]]:
    """The rows of settings.csv, as text; none where there is no such file. Raises ConfigError when it is damaged."""
    path = folder / SETTINGS
    if not exists(path):
        return []
    with reading(path), _kept(path):
        table = csv.DictReader(StringIO(path.read_text(encoding="utf-8")))
        rows = list(table)
        names = set(table.fieldnames or ())
        if (
            not {RUN, *FACTS} <= names
            or not names & SCORES.keys()
            or any(None in (*row, *row.values()) for row in rows)
        ):
            raise _Damaged("a row or a column is cut short")
    return rows


def write_settings(folder: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Replace settings.csv by these rows, which have the same keys: run, those tried, those of FACTS, the score."""
    text = StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    _write(folder / SETTINGS, text.getvalue())


def tried(folder: Path) -> set[str]:
    """The runs that settings.csv has, of the present version of the numerics."""
    return {row[RUN] for row in read_settings(folder) if row["numbers"] == str(NUMBERS)}


class _Damaged(ValueError):
    """What a file lacks."""


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    """A damaged file of a tuning is not replaced: it may be all that is left of its runs."""
    try:
        yield
    except (ValueError, yaml.YAMLError, csv.Error) as error:
        raise ConfigError(
            f"{path} is damaged ({first_line(error)}); take it from a backup, or delete it: `tune` makes it again, "
            "from the folders of its runs as far as they are there"
        ) from error


def _write(path: Path, text: str) -> None:
    """Replace the file, unless it has this text already."""
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomically(path, methodcaller("write", text.encode()))
