"""A run that is interrupted, in whatever way, ends in the same bytes as one that is not."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbp_experiments.results import RunFolder
from tests.command import BOTH_ENGINES, BUSY, ONE_THREAD, metrics, records, run, spawn, train
from tests.interruptions import PowerCut, wait_for_checkpoints


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


IMAGES = ("data=continual_imagenet", "scale=smoke", "seeds=3", *BUSY, *ONE_THREAD)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_a_run_on_images_cut_off_ends_in_the_same_bytes(network: str, folder: Path, power_cuts: list[int]) -> None:
    job = (*IMAGES, f"network={network}", "learner.momentum=0.9")
    train(*job, "results_dir=whole", base=())
    power_cuts += [1, 4]
    for _ in range(2):
        with pytest.raises(PowerCut):
            run(*job, "results_dir=cut", "checkpoint_seconds=0", base=())
    train(*job, "results_dir=cut", "checkpoint_seconds=0", base=())
    assert metrics(folder / "cut") == metrics(folder / "whole")


@pytest.mark.slow
def test_a_run_on_images_killed_ends_in_the_same_bytes(folder: Path) -> None:
    job = (*IMAGES, "data.tasks=40")
    for _ in range(2):
        process = spawn(*job, "checkpoint_seconds=0", "results_dir=cut", cwd=folder)
        wait_for_checkpoints(folder / "cut", 3)
        process.kill()
        process.communicate(timeout=60)
    assert "incomplete" in {facts["status"] for facts in records(folder / "cut").values()}, "killed too late"
    train(*job, "results_dir=cut", base=())
    train(*job, "results_dir=whole", base=())
    assert metrics(folder / "cut") == metrics(folder / "whole")


def test_force_does_not_continue(folder: Path, power_cuts: list[int]) -> None:
    power_cuts += [1]
    with pytest.raises(PowerCut):
        run("data.tasks=4", "checkpoint_seconds=0")
    outcome = train("data.tasks=4", "force=true")
    assert "continued" not in outcome.out
    assert "80 updates" in outcome.out


def test_force_mends_a_damaged_run(folder: Path) -> None:
    train("results_dir=whole")
    train("results_dir=torn")
    for path in (folder / "torn").glob("**/run.json"):
        path.write_text("{")
    outcome = run("results_dir=torn")
    assert outcome.code == 2
    assert "run.json is damaged" in outcome.err
    assert "run that run again with force=true" in outcome.err
    train("results_dir=torn", "force=true")
    assert metrics(folder / "torn") == metrics(folder / "whole")


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


LONG = ("scale=smoke", "data.task_length=500", "network.width=16", "seeds=3", *BUSY, *ONE_THREAD)


COMMAND = (sys.executable, "-m", "cbp_experiments")
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(
    "signals", [pytest.param(SIGNALS[:1], id="one"), pytest.param(SIGNALS, id="each", marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_says_how_to_continue(signals: list[tuple[int, int]], folder: Path) -> None:
    job = (*LONG, "data.tasks=200")  # seconds, of which the signals have to meet some
    for number, code in signals:
        process = spawn(*job, "checkpoint_seconds=0.02", "results_dir=cut", cwd=folder)
        wait_for_checkpoints(folder / "cut", 3)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "Traceback" not in err
        assert err.endswith("interrupted; the same command goes on from here\n")
        assert "stopping: the runs under way are saved" in out
        assert ("continued after task " in out) == (number != signal.SIGINT)
        assert not list((folder / "cut").glob("**/.*.tmp"))
    train(*job, "results_dir=cut", base=())
    train(*job, "results_dir=whole", base=())
    assert metrics(folder / "cut") == metrics(folder / "whole")


@pytest.mark.slow
@BOTH_ENGINES
def test_sigterm_in_the_middle_of_a_long_task_saves_within_it(engine: str, folder: Path) -> None:
    length, width = (60000, 500) if engine == "online" else (6000, 100)
    job = (f"data.task_length={length}", f"network.width={width}", "data.tasks=2", "seeds=1", f"engine={engine}")
    process = spawn(*job, "results_dir=cut", *ONE_THREAD, cwd=folder)
    while not list(folder.glob("cut/*/*/run.json")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(1)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    (checkpoint,) = folder.glob("cut/*/*/checkpoint.npz")
    with np.load(checkpoint) as arrays:
        assert 0 < arrays["state/position"] < length
    train(*job, "results_dir=cut", base=ONE_THREAD)
    train(*job, "results_dir=whole", base=ONE_THREAD)
    assert metrics(folder / "cut") == metrics(folder / "whole")


@pytest.mark.slow
def test_a_second_signal_stops_at_once(folder: Path) -> None:
    process = spawn(*LONG, "data.tasks=2000", "checkpoint_seconds=0", cwd=folder)
    wait_for_checkpoints(folder, 2)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, 143)
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs a process namespace")
def test_process_1_of_a_container_hears_sigterm(folder: Path) -> None:
    process = subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            sys.executable,
            "-m",
            "cbp_experiments",
            *LONG,
            "data.tasks=2000",
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(folder.glob("results/*/*/run.json")) and process.poll() is None:
        time.sleep(0.01)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err


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


def test_a_finished_run_that_lost_its_metrics_is_named(folder: Path) -> None:
    train("seeds=2", "results_dir=lost")
    lost = sorted((folder / "lost").glob("**/metrics.csv"))[0]
    lost.unlink()
    outcome = run("seeds=2", "results_dir=lost")
    assert outcome.code == 2
    assert str(lost.relative_to(folder)) in outcome.err
