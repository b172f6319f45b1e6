"""Sweeps: what two processes share, what a kill leaves, how far an experiment is."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from cbp_experiments.cli.compose import CONF, compose
from cbp_experiments.cli.expanding import parts
from cbp_experiments.results import RunFolder, load_experiment
from tests.command import BUSY, ONE_THREAD, TINY, call, files, metrics, records, run, spawn, train
from tests.interruptions import wait_for_checkpoints

SWEEP = ("-m", "learner.step_size=0.05,0.01", "scale=smoke", "network.width=16", "seeds=3", *BUSY[:2], *ONE_THREAD)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_folders(results_dir: Path) -> list[RunFolder]:
    return [RunFolder(path.parent) for path in sorted(results_dir.glob("**/run.json"))]


@pytest.mark.parametrize("engine", ["online", "ensemble"])
def test_a_run_that_another_process_has_is_left_to_it(engine: str, folder: Path) -> None:
    job = ("seeds=3", f"engine={engine}")
    train(*job, "results_dir=whole")
    whole = metrics(folder / "whole")
    (name,) = [name for name in whole if name.endswith("seed1")]
    other = RunFolder(folder / "shared" / name)
    assert other.lock()
    outcome = train(*job, "results_dir=shared")
    assert f"{other.path.name} is in progress in another process: left to it" in outcome.out
    assert sorted(records(folder / "shared")) == [0, 2]
    other.unlock()
    train(*job, "results_dir=shared")
    assert metrics(folder / "shared") == whole


def test_a_run_that_another_process_finishes_meanwhile_is_not_trained_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("results_dir=whole")
    (name,) = metrics(folder / "whole")
    lock = RunFolder.lock

    def too_late(run: RunFolder) -> bool:
        shutil.copytree(folder / "whole" / name, run.path, dirs_exist_ok=True)
        return lock(run)

    monkeypatch.setattr(RunFolder, "lock", too_late)
    outcome = train("results_dir=shared")
    assert f"{Path(name).name} was finished by another process" in outcome.out
    assert records(folder / "shared") == records(folder / "whole")
    assert not list((folder / "shared").glob("**/.lock"))


@pytest.mark.slow
def test_a_lock_that_a_dead_process_left_holds_nobody_up(folder: Path) -> None:
    job = (*SWEEP[2:], "data.tasks=200")
    process = spawn(*job, "checkpoint_seconds=0", "results_dir=cut", cwd=folder)
    wait_for_checkpoints(folder / "cut", 1)
    assert [run.in_progress() for run in run_folders(folder / "cut")] == [True]
    process.kill()
    process.communicate(timeout=60)
    (left,) = run_folders(folder / "cut")
    assert (left.path / ".lock").exists()
    assert not left.in_progress()
    outcome = call(*job, "results_dir=cut", base=())
    assert "  continued " in outcome.out
    assert "in progress" not in outcome.out
    assert {facts["status"] for facts in records(folder / "cut").values()} == {"complete"}
    assert not list((folder / "cut").glob("**/.lock"))


def wait_until_trained(results_dir: Path, since: float) -> None:
    """Until a process has taken a run after the time `since`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(path.stat().st_mtime > since for path in results_dir.glob("**/run.json")):
            return
        time.sleep(0.01)
    raise AssertionError("no run was begun")


def run_until_done(commands: Sequence[Sequence[str]], kills: int, folder: Path) -> None:
    """Run the commands at once and kill them all at a random moment, `kills` times; then let one of them finish."""
    dice = random.Random(3)
    for _ in range(kills):
        processes = [spawn(*command, "checkpoint_seconds=0", cwd=folder) for command in commands]
        wait_until_trained(folder / "cut", time.time())
        time.sleep(dice.uniform(0, 1.0))
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate(timeout=60)
    assert "incomplete" in {run.status() for run in run_folders(folder / "cut")}, "killed too late to be a test"
    processes = [spawn(*command, cwd=folder) for command in commands]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "Traceback" not in out + err


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_sweep_killed_ten_times_ends_in_the_same_bytes(processes: int, folder: Path) -> None:
    sweep = (*SWEEP, "data.tasks=150", "data.task_length=2000")
    run_until_done([(*sweep, "results_dir=cut")] * processes, 10, folder)
    assert call(*sweep, "results_dir=whole", base=()).code == 0
    assert len(metrics(folder / "whole")) == 6
    assert metrics(folder / "cut") == metrics(folder / "whole")
    for name in ("summary.csv", "accuracies.csv"):
        (cut,), (whole,) = (list((folder / how).glob(f"**/{name}")) for how in ("cut", "whole"))
        assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_joblib_trains_in_several_processes(folder: Path) -> None:
    sweep = ("-m", "learner=bp,cbp", "learner.step_size=0.01,0.003", "scale=smoke")
    process = spawn(
        *sweep,
        "hydra.sweep.dir=sweep",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "results_dir=cut",
        cwd=folder,
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.count("to do") == 4
    assert "it/s" not in err
    assert call(*sweep, "results_dir=whole", base=()).code == 0
    assert metrics(folder / "cut") == metrics(folder / "whole")
    assert len(metrics(folder / "cut")) == 8


@pytest.mark.slow
def test_the_errors_of_a_launcher_s_processes_are_one_line(folder: Path) -> None:
    process = spawn("-m", "learner=bp,cbp", "engine=online", "data.batch_size=2", "hydra/launcher=joblib", cwd=folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith("error: engine=online cannot do this")
    assert "Traceback" not in err


def test_status_says_how_far_a_sweep_is(folder: Path) -> None:
    sweep = ("-m", "learner.step_size=0.01,0.003", "seeds=2")
    missing = call("status", *sweep)
    assert missing.code == 1
    assert missing.out.splitlines()[-1].startswith("4 runs: 4 missing; about 1 s left")
    assert not list(folder.iterdir())

    train("learner.step_size=0.01", "seeds=[0]")
    train("learner.step_size=0.003", "seeds=2")
    for run_folder in run_folders(folder / "results")[:1]:
        recorded = json.loads((run_folder.path / "run.json").read_text())
        config = {"seed": recorded["seed"]}
        run_folder.begin(config, {"tasks": 2, "settings": recorded["settings"]}, restart=True)
    halfway = call("status", *sweep)
    assert halfway.code == 1
    assert halfway.out.splitlines()[-1].startswith("4 runs: 2 complete, 1 incomplete, 1 missing; about ")
    assert ", 0 of 2 tasks done\n" in halfway.out
    assert "learner.step_size=0.01: " in halfway.out
    assert "learner.step_size=0.003: " in halfway.out

    assert call(*sweep).code == 0
    complete = call("status", *sweep)
    assert (complete.code, complete.err) == (0, "")
    assert complete.out.splitlines()[-1] == "4 runs: 4 complete"


def test_status_of_diverged_runs_and_of_those_in_progress(folder: Path) -> None:
    train("learner=bp", "learner.step_size=1e30", "data.tasks=3")
    status = call("status", "learner=bp", "learner.step_size=1e30", "data.tasks=3")
    assert (status.code, status.out.splitlines()[-1]) == (1, "1 run: 1 diverged")

    train("learner=bp")
    (path,) = [folder.path for folder in run_folders(folder / "results") if folder.status() == "complete"]
    other = RunFolder(path)
    other.begin({"seed": 0}, {"tasks": 2}, restart=True)
    assert other.lock()
    assert "0 of 2 tasks done, in progress\n" in call("status", "learner=bp").out
    other.unlock()
    assert "0 of 2 tasks done\n" in call("status", "learner=bp").out


def test_status_goes_on_after_a_damaged_run(folder: Path) -> None:
    train("learner=bp", "seeds=3")
    damaged, hollow = sorted(folder.glob("results/*/bp_*/run.json"))[1:]
    damaged.write_text("{")
    (hollow.parent / "metrics.csv").unlink()
    status = call("status", "learner=bp", "seeds=3")
    assert (status.code, status.err) == (1, "")
    both = ", ".join(str(path.parent.relative_to(folder)) for path in (damaged, hollow))
    assert f"damaged: {both}; delete the folder" in status.out
    assert status.out.splitlines()[-1] == "3 runs: 1 complete, 2 damaged"
    shutil.rmtree(damaged.parent)
    shutil.rmtree(hollow.parent)
    train("learner=bp", "seeds=3")
    assert call("status", "learner=bp", "seeds=3").code == 0


def test_status_names_copies_and_renamed_folders(folder: Path) -> None:
    train("learner=bp", "seeds=2")
    first, second = sorted(folder.glob("results/*/bp_*"))
    shutil.copytree(first, first.with_name(f"{first.name} copy"))
    second.rename(second.with_name("bp_00000000_seed1"))
    status = call("status", "learner=bp", "seeds=2")
    assert status.code == 1
    assert f"not named after their run (copies, or renamed): bp_00000000_seed1, {first.name} copy\n" in status.out
    assert status.out.splitlines()[-1].startswith("2 runs: 1 complete, 1 missing")


@contextmanager
def another_user() -> Iterator[None]:
    """Within, root is a user without rights; any other user stays who they are."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        if not os.access(CONF, os.R_OK, effective_ids=True):
            pytest.skip("a user without rights may not read this checkout")
        yield
    finally:
        if root:
            os.seteuid(0)


def test_status_for_a_user_who_may_only_read(folder: Path) -> None:
    train("seeds=2")
    (first, _) = run_folders(folder / "results")
    first.begin({"seed": 0}, {"tasks": 2}, restart=True)
    first.save([{"task": 1, "accuracy": 50.0}], {}, 1.0)
    expected = call("status", "seeds=2")
    assert "1 complete, 1 incomplete" in expected.out
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = files(folder)
    with another_user():
        assert call("status", "seeds=2") == expected
    assert files(folder) == before


@pytest.mark.parametrize("hidden", ["results", "results/permuted_mnist", "run.json"])
def test_runs_that_may_not_be_read_are_not_called_missing(folder: Path, hidden: str) -> None:
    train()
    folder.chmod(0o755)
    (path,) = folder.glob(f"**/{hidden}")
    path.chmod(0)
    with another_user():
        outcome = call("status")
    path.chmod(0o700)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "run.json cannot be read (Permission denied); ask its owner for the right to\n" in outcome.err


def test_a_folder_of_experiments_is_all_of_them() -> None:
    folder = CONF / "experiment" / "permuted_mnist"
    all_of_it = sorted(path.relative_to(CONF / "experiment").with_suffix("") for path in folder.rglob("*.yaml"))
    assert parts(["experiment=permuted_mnist", "seeds=2"]) == [
        [f"experiment={experiment}", "seeds=2"] for experiment in all_of_it
    ]
    assert len(parts(["experiment=permuted_mnist/tuned_published_size"])) == 2
    for other in ("experiment=permuted_mnist/methods", "experiment=", "experiment=../x", "experiment=nope", "seeds=2"):
        assert parts([other]) == [[other]]


def composed_names(*arguments: str) -> list[tuple[str, str]]:
    """The experiment of each job that a command line asks for, and what its grid has set."""
    with patch.object(sys, "argv", ["cbp-experiments", *arguments]):
        return [(job.config.experiment, job.overrides.partition(" experiment=")[0]) for job in compose()]


@pytest.mark.parametrize(
    "argument",
    [
        "experiment=permuted_mnist/step_sizes,permuted_mnist/widths",
        "experiment=choice(permuted_mnist/step_sizes,permuted_mnist/widths)",
        "experiment=sort(permuted_mnist/widths,permuted_mnist/step_sizes)",
        "experiment=glob([permuted_mnist/step_*,*/widths])",
        "experiment='permuted_mnist/step_sizes','permuted_mnist/widths'",
    ],
)
def test_experiments_are_named_by_any_sweep(argument: str) -> None:
    names = [part[1].partition("=")[2].strip("'") for part in parts(["seeds=1", argument])]
    assert names == ["permuted_mnist/step_sizes", "permuted_mnist/widths"]


def test_experiments_and_folders_of_them_may_be_mixed() -> None:
    named = parts(["experiment=demo,permuted_mnist/tuned_published_size", "seeds=1,2"])
    assert named[0] == ["experiment=demo", "seeds=1,2"]
    assert named[1:] == parts(["experiment=permuted_mnist/tuned_published_size", "seeds=1,2"])


def test_each_of_several_experiments_has_its_grid() -> None:
    names = ("permuted_mnist/step_sizes", "permuted_mnist/widths")
    one_by_one = [job for name in names for job in composed_names("-m", f"experiment={name}")]
    assert len(one_by_one) == 6
    assert composed_names("-m", f"experiment={','.join(names)}") == one_by_one


def test_an_experiment_needs_no_yaml(folder: Path) -> None:
    outcome = call("-m", "experiment=my/idea,plain", "learner=bp,linear")
    assert outcome.code == 0, outcome
    for name in ("my/idea", "plain"):
        frame = load_experiment(folder / "results" / name)
        assert set(frame["learner.name"]) == {"bp", "linear"}
        assert set(frame["experiment"]) == {name}
    assert call("status", "-m", "experiment=plain", "learner=bp,linear").code == 0
    (run,) = {path.name for path in (folder / "results" / "plain").glob("bp_*")}
    assert (folder / "results" / "my" / "idea" / run).is_dir(), "the name of an experiment is not in that of a run"


def test_a_grid_that_would_be_lost_is_refused(folder: Path) -> None:
    mine = folder / "my" / "learner" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    grid = "hydra: {sweeper: {params: {learner.step_size: '0.1,0.2'}}}"
    mine.write_text(f"# @package _global_\ndefaults: [bp@learner]\n{grid}\n")
    both = call("--config-dir=my", "-m", "learner=mine,cbp")
    assert both.code == 2
    assert both.err.startswith("error: the grid learner.step_size=0.1,0.2 would be lost: ")
    assert call("--config-dir=my", "learner=mine").code == 2
    assert len(composed_names("--config-dir=my", "-m", "learner=mine")) == 2
    assert len(composed_names("--config-dir=my", "-m", "learner=mine,cbp", "learner.step_size=0.3")) == 2


def test_a_scale_of_one_s_own_is_missed_where_a_value_depends_on_it(folder: Path) -> None:
    own = folder / "own" / "scale" / "tiny.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\nscale: tiny\nseeds: 1\n")
    arguments = ("-m", "--config-dir", "own", "scale=tiny", "experiment=permuted_mnist/widths")
    outcome = call(*arguments, base=[argument for argument in TINY if not argument.startswith("scale=")])
    assert outcome.code == 2
    assert "no value for scale=tiny; there are: smoke, laptop, paper" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.slow
def test_the_whole_sweep_is_done_by_two_processes_together(folder: Path) -> None:
    """Each run by one of them: the second finds the first one's runs locked or finished."""
    job = ("learner=bp", "seeds=3", "scale=smoke", "data.tasks=40", *ONE_THREAD)
    processes: list[subprocess.Popen[str]] = [spawn(*job, "results_dir=both", cwd=folder) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert {facts["status"] for facts in records(folder / "both").values()} == {"complete"}
    assert run(*job, "results_dir=alone", base=()).code == 0
    assert metrics(folder / "both") == metrics(folder / "alone")
