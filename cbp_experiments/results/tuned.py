"""The files of a tuning: every setting that was tried, and the one that was chosen.

    results/tuning/<name>/<learner>/settings.csv    a row per run: the values tried, seed, scores
                                    choice.yaml     what `tuned=<name>` takes

A run in settings.csv counts as finished, whether its folder exists or not. The folders are only needed to resume; these
two files are kept.
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
# Columns of settings.csv. The values tried come after RUN. The score over all tasks comes after the status, in a column
# named after it.
RUN, FACTS = "run", ("seed", "status", "last_tenth", "tasks", "numbers")


NEEDED = {"learner", "values", "seeds", "tasks", "settings"}  # keys of choice.yaml, besides the score


@dataclass(frozen=True)
class Choice:
    """The setting that a tuning chose for a learner.

    values: by key, the learner's values that are not neutral, and the other values tried. seeds: of the tuning. size:
    of the stream and the network, by key. score: mean over all `tasks` tasks and the seeds; measure: its column.
    settings: how many were tried. second: the next best setting, and how much better the best is, paired by seed: mean,
    low and high of the 95 % interval. at_edge: the keys whose chosen value is the lowest or highest tried, with the
    value to add.
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
    """Return the name of a tuning. Raises ConfigError if the value cannot be one."""
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w.-]*", value):
        raise ConfigError(f"tuned={value}: it names a folder below results_dir/tuning; use letters, digits, _ - and .")
    return value


def tuning_folder(results_dir: Path, name: str, learner: str) -> Path:
    return results_dir / "tuning" / name / learner


def read_choice(folder: Path) -> Choice:
    """Read the choice in the folder of a tuning. Raises ConfigError if it is missing or damaged."""
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
    """Read the rows of settings.csv as text; none if there is no such file. Raises ConfigError if it is damaged."""
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
    """Replace settings.csv with these rows, which have the same keys: run, the keys tried, FACTS and the score."""
    text = StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    _write(folder / SETTINGS, text.getvalue())


def tried(folder: Path) -> set[str]:
    """Return the runs in settings.csv that were made by the present version of the numerics."""
    return {row[RUN] for row in read_settings(folder) if row["numbers"] == str(NUMBERS)}


class _Damaged(ValueError):
    """Says what a file lacks."""


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    """Raise ConfigError if a file of a tuning is damaged. It is kept: it may be all that is left of its runs."""
    try:
        yield
    except (ValueError, yaml.YAMLError, csv.Error) as error:
        raise ConfigError(
            f"{path} is damaged ({first_line(error)}); take it from a backup, or delete it: `tune` makes it again, "
            "from the folders of its runs as far as they are there"
        ) from error


def _write(path: Path, text: str) -> None:
    """Replace the file, unless it already has this text."""
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomically(path, methodcaller("write", text.encode()))
