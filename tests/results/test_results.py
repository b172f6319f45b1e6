"""Run folders: what comes back, what a crash leaves, what a damaged folder says."""

import json
import math
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from cbp_experiments.errors import ConfigError
from cbp_experiments.results import Row, RunFolder, digest, load_experiment, metrics_csv, run_folder, run_name
from tests.folders import folder_of, settings_of

TASKS = 4


def config(learner: str = "bp", seed: int = 0, **learner_keys: Any) -> dict[str, Any]:
    keys = {"name": learner, "step_size": 0.003, **learner_keys}
    return {"experiment": "trial", "learner": keys, "network": {"width": 100}, "scale": "smoke", "seed": seed}


def provenance(config: dict[str, Any]) -> dict[str, Any]:
    return {"tasks": TASKS, "data_description": "ten digits", "settings": settings_of(config)}


PROVENANCE = provenance(config())


def row(task: int, weight: float) -> Row:
    return {"task": task, "examples": 10 * task, "accuracy": 100 / 3 + weight, "effective_rank": math.nan}


def train(folder: RunFolder, *, restart: bool = False) -> None:
    """A run of four tasks whose rows depend on the state, as a runner would write it."""
    if not restart and folder.status() == "complete":
        folder.tidy()
        return
    folder.begin(config(), PROVENANCE, restart=restart)
    rows, state, seconds = folder.restore() or ([], {"w": np.array([0.1, 0.2])}, 0.0)
    for task in range(len(rows) + 1, TASKS + 1):
        state = {"w": np.sin(state["w"] * 1.1)}
        rows.append(row(task, float(state["w"].sum())))
        seconds += 1
        folder.save(rows, state, seconds)
    folder.finish("complete", rows, seconds)


def contents(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.path.iterdir()}


def exact(array: np.ndarray) -> tuple[np.dtype, tuple[int, ...], bytes]:
    return array.dtype, array.shape, array.tobytes()


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_finished_run_leaves_three_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, config())
    assert folder.status() is None
    train(folder)
    assert set(contents(folder)) == {"metrics.csv", "config.yaml", "run.json"}
    assert folder.status() == "complete"
    run = json.loads((folder.path / "run.json").read_text())
    assert run == {"status": "complete", "seed": 0, "tasks_done": 4, "wall_seconds": 4.0, **PROVENANCE}


def test_csv_text() -> None:
    int64: Any = np.int64(5000)
    float32: Any = np.float32(1e-9)
    rows: list[Row] = [
        {"task": 1, "examples": int64, "accuracy": 100 / 3, "loss": math.nan},
        {"task": 2, "examples": 10000, "accuracy": 85.0, "loss": float32},
    ]
    assert metrics_csv(rows) == "task,examples,accuracy,loss\n1,5000,33.333333,\n2,10000,85,9.9999997e-10\n"
    assert metrics_csv([]) == "task,examples\n"
    with pytest.raises(ValueError, match="differ in their columns"):
        metrics_csv([{"task": 1}, {"task": 2, "loss": 0.5}])


def test_restore_is_bit_identical(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = [
        {"task": 1, "loss": 0.1 + 0.2, "x": math.nan, "y": 5e-324},
        {"task": 2, "loss": -0.0, "x": math.inf, "y": 3.0},
    ]
    text = metrics_csv(rows)
    state: dict[str, np.ndarray] = {
        "w/1": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32),
        "age": np.arange(3),
        "empty": np.empty((0, 2)),
        "done": np.array(True),
    }
    folder.begin(config(), PROVENANCE)
    folder.save(rows, state, 1.25)
    restored = folder.restore()
    assert restored is not None
    got_rows, got_state, seconds = restored
    assert metrics_csv(got_rows) == text == (tmp_path / "metrics.csv").read_text()
    assert seconds == 1.25
    assert [(name, *exact(array)) for name, array in got_state.items()] == [
        (name, *exact(array)) for name, array in state.items()
    ]
    with pytest.raises(ValueError, match="generator"):
        folder.save([], {"generator": np.array([object()])}, 0.0)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: these tests kill the writer, not the machine."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class KilledError(BaseException):
    """Stands for SIGKILL: nothing catches it on the way out."""


def kill_at(monkeypatch: pytest.MonkeyPatch, call: int, *, after: bool) -> None:
    """Let the `call`-th change of the folder (a rename or a removal) be the last, not done or just done."""
    count = 0

    def dying(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*args: Any, **kwargs: Any) -> None:
            nonlocal count
            count += 1
            if count < call or (count == call and after):
                change(*args, **kwargs)
            if count >= call:
                raise KilledError

        return changed

    monkeypatch.setattr(os, "replace", dying(os.replace))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_a_kill_at_any_change_ends_in_the_same_bytes(tmp_path: Path, restart: bool, after: bool) -> None:
    whole = RunFolder(tmp_path / "whole")
    train(whole)
    for call in range(1, 100):
        folder = RunFolder(tmp_path / f"killed{call}")
        if restart:
            train(folder)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, call, after=after)
            try:
                train(folder, restart=restart)
                break
            except KilledError:
                pass
        for _ in range(2):
            train(folder)
        assert contents(folder) == contents(whole), f"killed at change {call}"
    assert call > 3 * TASKS  # the loop ended because a run was not killed any more, after every change had its turn
    assert contents(folder) == contents(whole)


def test_begin_keeps_the_checkpoint_and_refuses_a_finished_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(config(), PROVENANCE)
    folder.save([row(1, 0.0)], {"w": np.zeros(2)}, 1.0)
    folder.begin(config(), PROVENANCE)
    assert folder.restore() is not None
    folder.begin(config(), PROVENANCE, restart=True)
    assert folder.restore() is None
    train(folder)
    with pytest.raises(ValueError, match="restart=True"):
        folder.begin(config(), PROVENANCE)
    with pytest.raises(ValueError, match="not incomplete"):
        folder.finish("incomplete", [], 0.0)


def test_any_damage_to_the_checkpoint_starts_the_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path)
    rows, state = [row(1, 0.5)], {"w": np.arange(4.0)}
    folder.begin(config(), PROVENANCE)
    folder.save(rows, state, 1.0)
    checkpoint = tmp_path / "checkpoint.npz"
    good = checkpoint.read_bytes()
    flipped = [good[:i] + bytes([good[i] ^ 0x55]) + good[i + 1 :] for i in range(0, len(good), 7)]
    for bad in [b"", b"text\n", good[:-1], good[: len(good) // 2], *flipped]:
        checkpoint.write_bytes(bad)
        capsys.readouterr()
        restored = folder.restore()
        if restored is None:
            assert "the run starts again" in capsys.readouterr().out
        else:  # a byte that carries no content, such as a time stamp of the archive
            assert metrics_csv(restored[0]) == metrics_csv(rows)
            assert exact(restored[1]["w"]) == exact(state["w"])
            assert restored[2] == 1.0
    checkpoint.write_bytes(good[:-1])
    train(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("33.8", ""),
        lambda text: text.replace("accuracy", "accuracies"),
        None,
    ],
)
def test_any_damage_to_the_rows_of_a_checkpoint_starts_the_run_again(
    tmp_path: Path, damage: Callable[[str], str] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, folder = RunFolder(tmp_path / "whole"), folder_of(tmp_path, config())
    train(whole)
    folder.begin(config(), PROVENANCE)
    folder.save([row(1, 0.5), row(2, 0.25)], {"w": np.arange(4.0)}, 1.0)
    path = folder.path / "metrics.csv"
    path.write_text(damage(path.read_text())) if damage else path.unlink()
    assert RunFolder(folder.path).restore() is None
    assert "the run starts again" in capsys.readouterr().out
    train(folder)
    assert contents(folder) == contents(whole)


def test_rows_after_those_of_the_checkpoint_are_written_over(tmp_path: Path) -> None:
    """A kill between metrics.csv and checkpoint, or a full disk in the middle of a line, leaves more."""
    rows = [row(task, 0.5) for task in (1, 2, 3)]
    folder = RunFolder(tmp_path)
    folder.begin(config(), PROVENANCE)
    folder.save(rows[:1], {}, 1.0)
    with open(tmp_path / "metrics.csv", "a") as handle:
        handle.write("2,20,99,\n3,3")
    later = RunFolder(tmp_path)
    restored = later.restore()
    assert restored is not None
    assert metrics_csv(restored[0]) == metrics_csv(rows[:1])
    later.save(rows, {}, 2.0)
    assert (tmp_path / "metrics.csv").read_text() == metrics_csv(rows)


def test_a_checkpoint_writes_no_more_when_many_tasks_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, written = RunFolder(tmp_path), list[int]()
    folder.begin(config(), PROVENANCE)
    rows = [row(task, 0.5) for task in range(1, 5001)]
    folder.save(rows[:-1], {"w": np.zeros(10)}, 1.0)
    metrics_before, checkpoint_before = os.stat(tmp_path / "metrics.csv"), os.stat(tmp_path / "checkpoint.npz")
    texts = metrics_csv

    def counted(rows: list[Row]) -> str:
        written.append(len(rows))
        return texts(rows)

    monkeypatch.setattr(run_folder, "metrics_csv", counted)
    folder.save(rows, {"w": np.zeros(10)}, 1.0)
    assert written == [2]  # the row that names the columns, and the new one
    assert os.stat(tmp_path / "metrics.csv").st_ino == metrics_before.st_ino
    assert os.stat(tmp_path / "checkpoint.npz").st_size - checkpoint_before.st_size < 10
    assert (tmp_path / "metrics.csv").read_text() == texts(rows)


def test_digest_and_name() -> None:
    assert digest({"a": 1, "b": {"c": 0.01, "d": None}}) == digest({"b": {"d": None, "c": 1e-2}, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": {"b": 1}}) == sha256(b'{"a":{"b":1}}').hexdigest()[:8]
    assert run_name({"learner": {"name": "cbp"}}, 7) == f"cbp_{digest({'learner': {'name': 'cbp'}})}_seed7"
    with pytest.raises(ConfigError, match="names a folder"):
        run_name({"learner": {"name": "../cbp"}}, 7)


def test_load_experiment(tmp_path: Path) -> None:
    for given in (config("cbp", 1, replacement_rate=1e-5, betas=[0.9, 0.999]), config("bp", 3)):
        folder = folder_of(tmp_path, given)
        folder.begin({**given, "accuracy": "online"}, {**provenance(given), "classes": 10})
        folder.save([row(1, 0.0), row(2, 1.0)], {}, 2.0)
    folder.finish("complete", [row(1, 0.0), row(2, 1.0)], 2.0)
    RunFolder(tmp_path / "unsaved").begin(config(), PROVENANCE)
    frame = load_experiment(tmp_path)
    bp, cbp = frame["run"].unique()
    measured = ["task", "examples", "accuracy", "effective_rank"]
    known = ["run", "status", "seed", "numbers", "classes", "data_description"]
    assert list(frame.columns[:10]) == measured + known
    assert frame[[*known, "learner.name", "task"]].to_numpy().tolist() == [
        [bp, "complete", 3, 1, 10, "ten digits", "bp", 1],
        [bp, "complete", 3, 1, 10, "ten digits", "bp", 2],
        [cbp, "incomplete", 1, 1, 10, "ten digits", "cbp", 1],
        [cbp, "incomplete", 1, 1, 10, "ten digits", "cbp", 2],
    ]
    assert frame["accuracy"].tolist() == [33.333333, 34.333333] * 2
    assert frame["effective_rank"].isna().all()
    assert frame["learner.replacement_rate"].isna().tolist() == [True, True, False, False]
    assert frame["learner.replacement_rate"].iloc[2] == 1e-5
    assert frame["learner.betas"].iloc[2] == "[0.9, 0.999]"
    assert frame["config.accuracy"].unique().tolist() == ["online"]
    assert frame["scale"].unique().tolist() == ["smoke"]


def test_a_run_that_diverged_at_once_is_one_row(tmp_path: Path) -> None:
    for learner in ("bp", "cbp"):
        folder = folder_of(tmp_path, config(learner))
        folder.begin(config(learner), provenance(config(learner)))
        folder.finish("diverged", [] if learner == "bp" else [row(1, 0.0)], 0.5)
    frame = load_experiment(tmp_path)
    assert frame["task"].tolist() == [0, 1]
    assert frame["accuracy"].isna().tolist() == [True, False]


def test_nothing_there_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^no runs in \S+/demo; .* -m experiment=demo results_dir="):
        load_experiment(tmp_path / "demo")
    with pytest.raises(ConfigError, match="experiment=mnist/width"):
        load_experiment(tmp_path / "mnist" / "width", "mnist/width")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("metrics.csv", lambda text: text[:-4]),
        ("metrics.csv", lambda text: text[:-4] + "\n"),
        ("metrics.csv", lambda text: text[: text.rindex("4,40")]),
        ("metrics.csv", lambda text: text.replace("3,30", "x,30")),
        ("metrics.csv", lambda text: text.replace("task", "step")),
        ("run.json", lambda text: text[:-3]),
        ("run.json", lambda text: "[]"),
        ("run.json", lambda text: text.replace("complete", "done")),
        ("run.json", lambda text: text.replace('"tasks_done": 4', '"tasks_done": "4"')),
        ("run.json", lambda text: text.replace('"tasks_done"', '"tasks"')),
        ("config.yaml", lambda text: "learner: {name: [\n"),
        ("config.yaml", lambda text: f"a: &a [x, x]\nb: [*a, *a]\n{text}"),
        ("config.yaml", lambda text: "seed: 1\n"),
        ("config.yaml", lambda text: text.replace("bp", "[1]")),
        ("config.yaml", lambda text: text[: text.index("network")]),
        ("config.yaml", lambda text: text.replace("0.003", "0.03")),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: Callable[[str], str]) -> None:
    folder = folder_of(tmp_path, config())
    train(folder)
    path = folder.path / name
    path.write_text(damage(path.read_text()))
    with pytest.raises(ConfigError) as error:
        load_experiment(tmp_path)
    assert f"{path} is damaged" in one_line(error)
    train(folder, restart=True)
    assert len(load_experiment(tmp_path)) == TASKS


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("config.yaml", "run.json"):
        train(folder_of(tmp_path, config()))
        (folder_of(tmp_path, config()).path / name).unlink()
        with pytest.raises(ConfigError) as error:
            load_experiment(tmp_path)
        assert f"{folder_of(tmp_path, config()).path / name} cannot be read (No such file or directory)" in one_line(
            error
        )


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"^cannot write \S+/file/run.* results_dir=...$"):
        RunFolder(tmp_path / "file" / "run").begin(config(), PROVENANCE)


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    train(folder)
    before = contents(folder)
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(ConfigError, match="No space left on device") as error:
        folder.finish("complete", [row(1, 0.0)], 1.0)
    assert "metrics.csv" in one_line(error)
    assert contents(folder) == before
