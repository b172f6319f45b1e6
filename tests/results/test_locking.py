"""The locks of an experiment: summaries that lose no run, a time limit, and what killed processes leave behind."""

import re
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock

from cbp_experiments.analysis import summaries as summarize
from cbp_experiments.analysis.summaries import write_summary
from cbp_experiments.errors import ConfigError
from cbp_experiments.results import add_to_plan, write_atomically
from tests.folders import make_run

ROWS = [{"task": task, "examples": 10 * task, "accuracy": 80.0} for task in (1, 2)]


def run(experiment: Path, learner: str) -> None:
    config: dict[str, Any] = {"experiment": "demo", "scale": "smoke", "seed": 0, "learner": {"name": learner}}
    make_run(experiment, config, ROWS)


def test_of_two_that_finish_at_once_neither_loses_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has read the runs and is slow to write; meanwhile the second finishes a run and summarizes."""
    run(tmp_path, "bp")
    reading, tidy = threading.Event(), summarize.tidy
    more_to_do = threading.Event()

    def slow(frame: pd.DataFrame) -> pd.DataFrame:
        if not reading.is_set():
            reading.set()
            assert more_to_do.wait(20)
        return tidy(frame)

    monkeypatch.setattr(summarize, "tidy", slow)
    first = threading.Thread(target=write_summary, args=(tmp_path,))
    first.start()
    assert reading.wait(20)
    run(tmp_path, "cbp")
    second = threading.Thread(target=write_summary, args=(tmp_path,))
    second.start()
    second.join(0.3)  # without the lock it would be done by now, and be overwritten
    more_to_do.set()
    for thread in (first, second):
        thread.join(20)
    for name in ("summary.csv", "accuracies.csv"):
        assert set(pd.read_csv(tmp_path / name)["learner.name"]) == {"bp", "cbp"}


@pytest.mark.parametrize(
    ("lock", "write"),
    [
        ("summary", write_summary),
        ("planned", lambda folder: add_to_plan(folder, {"a": {"setting": "bp", "seed": 0, "scale": "smoke"}})),
    ],
)
def test_a_lock_that_stays_is_named(tmp_path: Path, lock: str, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "bp")
    acquire = FileLock.acquire
    monkeypatch.setattr(FileLock, "acquire", lambda self, timeout: acquire(self, timeout=timeout / 400))
    held = FileLock(tmp_path / f".{lock}.lock")
    message = (
        rf"another process has held {re.escape(held.lock_file)} for \d+ seconds; if none is at work there, delete it"
    )
    acquire(held)
    with pytest.raises(ConfigError, match=f"^{message}$"):
        write(tmp_path)
    held.release()
    write(tmp_path)


def test_what_killed_processes_left_in_the_folder_is_removed(tmp_path: Path) -> None:
    run(tmp_path, "bp")
    for name in (".summary.csv.123.tmp", ".planned.json.45.tmp"):
        (tmp_path / name).write_text("half")
    write_summary(tmp_path)
    add_to_plan(tmp_path, {"a": {"setting": "bp", "seed": 0, "scale": "smoke"}})
    left = {"summary.csv", "accuracies.csv", "planned.json", ".planned.lock", ".summary.lock"}
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == left


def test_no_lock_where_there_is_no_experiment(tmp_path: Path) -> None:
    write_atomically(tmp_path / "demo" / "note.txt", lambda handle: handle.write(b"nothing"))
    for folder in (tmp_path / "demo", tmp_path / "none"):
        with pytest.raises(ConfigError, match="no runs in"):
            write_summary(folder)
    assert {path.name for path in tmp_path.rglob("*")} == {"demo", "note.txt"}
