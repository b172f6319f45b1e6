"""Launchers: what they get to train, what is printed, and that none of their processes outlives ours or loses work."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncherConf
from hydra.core.config_store import ConfigStore

from cbp_experiments.cli.launched import SCRATCH, WANTED, launching, remove_abandoned
from cbp_experiments.signals import Interrupted
from tests.command import TINY, call, metrics, records, spawn
from tests.interruptions import wait_for_checkpoints

# A job that saves when it is interrupted, in a process that a launcher has started.
JOB = """
import os, sys, time
from pathlib import Path
from cbp_experiments.cli.launched import launched
with launched():
    try:
        Path("started").touch()
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.5)
        Path("saved").write_text(str(os.getpid()))
        raise
"""
LAUNCHING = f"""
import subprocess, sys
from cbp_experiments.cli.launched import launching
with launching():
    subprocess.run([sys.executable, "-c", {JOB!r}])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an empty one for temporary files."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "cwd"


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A launcher that we know nothing of: Hydra's basic one, under another name."""
    ConfigStore.instance().store(group="hydra/launcher", name="elsewhere", node=BasicLauncherConf, provider="test")
    yield "hydra/launcher=elsewhere"
    del ConfigStore.instance().repo["hydra"]["launcher"]["elsewhere.yaml"]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text()


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in (folder.parent / "tmp").iterdir()]


def interrupt(number: int, *, job_hears: int | None = None) -> Interrupted:
    """Launch a job, send a signal to this process (and first one to that of the job), and return what is raised."""
    try:
        with launching():
            process = subprocess.Popen([sys.executable, "-c", JOB])
            wait_for(Path("started"))
            if job_hears:
                process.send_signal(job_hears)
            os.kill(os.getpid(), number)
    except Interrupted as error:
        assert Path("saved").read_text() == str(process.pid)
        assert process.wait(timeout=10) == 143
        return error
    raise AssertionError("not interrupted")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_is_raised_once_the_launched_jobs_are_saved(number: int, folder: Path) -> None:
    assert interrupt(number).number == number
    assert leftovers(folder) == []
    assert SCRATCH not in os.environ


def test_a_job_that_has_heard_of_the_signal_itself_is_not_interrupted_twice(folder: Path) -> None:
    """As Ctrl-C reaches all processes of a terminal: a second signal would keep the job from saving."""
    interrupt(signal.SIGINT, job_hears=signal.SIGTERM)


def test_a_second_signal_does_not_wait_for_the_jobs(folder: Path) -> None:
    caught = None
    try:
        with launching() as scratch, open(scratch / "0.job", "w") as lock:  # a job that never ends
            fcntl.flock(lock, fcntl.LOCK_EX)
            kill = f"import os, time; time.sleep(0.3); os.kill({os.getpid()}, {signal.SIGHUP})"
            with subprocess.Popen([sys.executable, "-c", kill]):
                os.kill(os.getpid(), signal.SIGTERM)
    except Interrupted as error:
        caught = error.number
    assert caught == signal.SIGHUP


def test_a_job_is_saved_and_ends_when_the_launching_process_is_killed(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", LAUNCHING])
    wait_for(folder / "started")
    process.kill()
    process.wait(timeout=10)
    wait_for(folder / "saved")
    deadline = time.monotonic() + 10
    while not ended(int((folder / "saved").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(leftovers(folder)) == 1
    remove_abandoned()  # as every command does that trains
    assert leftovers(folder) == []


def test_scratch_folders_of_living_processes_and_of_others_are_left_alone(folder: Path) -> None:
    temporary = folder.parent / "tmp"
    for name in ("cbp-living", "cbp-dead", "cbp-foreign"):
        (temporary / name).mkdir()
    for name in ("cbp-living", "cbp-dead"):
        (temporary / name / WANTED).touch()
    with open(temporary / "cbp-living" / WANTED) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert call("learner=bp").code == 0
        assert set(leftovers(folder)) >= {"cbp-living", "cbp-foreign"}
        assert "cbp-dead" not in leftovers(folder)


def test_a_process_of_a_launcher_on_another_machine_works_without_our_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SCRATCH, str(folder / "of_another_machine"))
    process = subprocess.Popen([sys.executable, "-c", JOB])
    wait_for(folder / "started")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143
    assert (folder / "saved").exists()


def test_a_launcher_that_prints_elsewhere_shows_the_plan_the_table_and_where(elsewhere: str, folder: Path) -> None:
    outcome = call("-m", "learner=bp,cbp", elsewhere)
    assert outcome.code == 0, outcome
    plan, where, tables = outcome.out.partition("the output of the jobs is in results/.launched/")
    assert where
    assert "[job 1 of 2: learner=bp " in plan
    assert "permuted_mnist: cbp, 1 run (seeds 0)" in plan
    assert plan.count("to do    40 updates") == 2
    assert tables.count("learner  seeds") == 4  # those of the jobs, which this launcher trains here, and ours
    assert outcome.out.endswith("results in results/permuted_mnist\n")
    assert len(metrics(folder / "results")) == 2
    again = call("-m", "learner=bp,cbp", elsewhere, "hydra.sweep.dir=logs")
    assert "the output of the jobs is in logs\n" in again.out
    assert (folder / "logs").is_dir()


@pytest.mark.parametrize("multirun", [["-m"], []], ids=["multirun", "run"])
def test_a_launcher_gets_a_single_job_too(multirun: list[str], elsewhere: str, folder: Path) -> None:
    outcome = call(*multirun, "learner=bp", elsewhere)
    assert outcome.code == 0, outcome
    assert "the output of the jobs is in " in outcome.out
    assert len(metrics(folder / "results")) == 1


def test_a_launcher_of_the_users_configuration_gets_the_jobs(elsewhere: str, folder: Path) -> None:
    mine = folder / "my" / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    grid = "hydra: {mode: MULTIRUN, sweeper: {params: {learner.step_size: '0.1,0.2'}}}"
    mine.write_text(f"# @package _global_\ndefaults: [override /{elsewhere.replace('=', ': ')}]\n{grid}\n")
    outcome = call("--config-dir=my", "experiment=mine")
    assert outcome.code == 0, outcome
    assert "the output of the jobs is in " in outcome.out
    assert "[job 2 of 2: learner.step_size=0.2 " in outcome.out
    assert len(metrics(folder / "results")) == 2


def test_an_unknown_key_of_a_launcher(folder: Path) -> None:
    outcome = call("-m", "learner=bp,cbp", "hydra/launcher=joblib", "hydra.launcher.njobs=2")
    assert outcome.code == 2
    assert outcome.err.startswith("error: unknown key hydra.launcher.njobs; --cfg hydra lists Hydra's keys")


LONG = ("-m", "learner=bp,cbp", "scale=smoke", "seeds=1", "data.tasks=600", "checkpoint_seconds=0.2")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_joblib_s_processes_save_and_end_with_ours(number: int, folder: Path) -> None:
    process = spawn(*LONG, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", cwd=folder)
    wait_for_checkpoints(folder / "results", 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    assert "Traceback" not in out + err
    assert list((folder / "results").glob("*/*/checkpoint.npz"))
    deadline = time.monotonic() + 20
    while any("in progress" in line for line in call("status", *LONG, base=()).out.splitlines()):
        assert time.monotonic() < deadline


@pytest.mark.slow
def test_a_process_of_joblib_that_is_killed_is_one_line(folder: Path) -> None:
    process = spawn(*LONG, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", cwd=folder)
    wait_for_checkpoints(folder / "results", 2)
    jobs = list((folder.parent / "tmp").glob("cbp-*/*.job"))
    os.kill(int(jobs[0].stem), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in err
    assert "error: a process of the launcher has ended: " in err


@pytest.mark.slow
def test_submitit_trains_on_this_machine(folder: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    process = spawn("-m", "learner=bp,cbp", *TINY, "hydra/launcher=submitit_local", cwd=folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.count("to do") == 2
    assert out.count("learner  seeds") == 2
    assert {facts["status"] for facts in records(folder / "results").values()} == {"complete"}
    logs = list((folder / "results" / ".launched").glob("*/.submitit/*/*_log.out"))
    assert len(logs) == 2
