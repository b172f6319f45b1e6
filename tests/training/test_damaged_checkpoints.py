"""A checkpoint that cannot be continued is reported in a line, and its run starts again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cbp_experiments.results import RunFolder
from cbp_experiments.results.provenance import NUMBERS
from tests.command import BOTH_ENGINES, BUSY, metrics, run, train
from tests.interruptions import PowerCut


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cut_off(job: Sequence[str], saves: int, folder: Path, power_cuts: list[int]) -> list[Path]:
    """Train a job in whole/, and in cut/ until so many checkpoints are saved, whose paths are returned."""
    train(*job, "results_dir=whole")
    power_cuts += [saves]
    with pytest.raises(PowerCut):
        run(*job, "results_dir=cut", "checkpoint_seconds=0")
    return sorted((folder / "cut").glob("**/checkpoint.npz"))


@BOTH_ENGINES
def test_a_damaged_checkpoint_is_reported_and_the_run_starts_again(
    engine: str, folder: Path, power_cuts: list[int]
) -> None:
    job = (*BUSY, f"engine={engine}", "seeds=2", "data.tasks=5")
    checkpoint, *others = cut_off(job, 4, folder, power_cuts)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    outcome = train(*job, "results_dir=cut")
    (message,) = [line for line in outcome.out.splitlines() if line.endswith("the run starts again")]
    assert message.startswith(f"{checkpoint.relative_to(folder)} cannot be read")
    assert all(f": {other.parent.name}" in outcome.out for other in others)
    assert metrics(folder / "cut") == metrics(folder / "whole")


@BOTH_ENGINES
def test_a_checkpoint_of_other_code_is_reported_and_the_run_starts_again(
    engine: str, folder: Path, power_cuts: list[int]
) -> None:
    """Readable, but its arrays are not those that the run keeps today."""
    job = (*BUSY, f"engine={engine}", "seeds=1", "data.tasks=5")
    (path,) = cut_off(job, 2, folder, power_cuts)
    changed = RunFolder(path.parent)
    rows, state, seconds = changed.restore() or pytest.fail("no checkpoint")
    changed.save(rows, {f"old_{name}": array for name, array in state.items()}, seconds)
    outcome = train(*job, "results_dir=cut")
    assert "starts again" in outcome.out
    assert metrics(folder / "cut") == metrics(folder / "whole")


def test_a_run_that_other_numerics_began_starts_again(folder: Path, power_cuts: list[int]) -> None:
    """Continued, it would be of two versions within itself."""
    job = (*BUSY, "engine=online", "seeds=1", "data.tasks=5")
    (path,) = cut_off(job, 2, folder, power_cuts)
    path = path.with_name("run.json")
    path.write_text(path.read_text().replace(f'"numbers": {NUMBERS}', f'"numbers": {NUMBERS + 1}'))
    said = f"(it is of version {NUMBERS + 1} of the numerics, and this is version {NUMBERS}): the run starts again"
    assert said in train(*job, "results_dir=cut").out
    assert metrics(folder / "cut") == metrics(folder / "whole")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state | {"position": np.array(3)}, "task_about"),
        (lambda state: state | {"position": np.array("x")}, "how far it is"),
        (lambda state: {name: array for name, array in state.items() if name != "weights"}, "differs in weights"),
        (lambda state: state | {"weights": state["weights"] * np.float32("nan")}, "not numbers"),
        (lambda state: state | {"weights": state["weights"][:5]}, "weights is float32 [5], not"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_reported_and_the_run_starts_again(
    change: Any, reason: str, folder: Path, power_cuts: list[int]
) -> None:
    job = (*BUSY, "engine=online", "seeds=1", "data.tasks=4")
    (path,) = cut_off(job, 2, folder, power_cuts)
    changed = RunFolder(path.parent)
    rows, state, seconds = changed.restore() or pytest.fail("no checkpoint")
    changed.save(rows, change(state), seconds)
    outcome = train(*job, "results_dir=cut")
    (line,) = [line for line in outcome.out.splitlines() if line.endswith("the run starts again")]
    assert reason in line
    assert metrics(folder / "cut") == metrics(folder / "whole")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [(0, "how far it is"), (4, "it has 4 rows of 4 tasks"), (2, "other columns")],
)
def test_rows_that_do_not_fit_are_reported_and_the_run_starts_again(
    rows: int, reason: str, folder: Path, power_cuts: list[int]
) -> None:
    job = (*BUSY, "engine=online", "seeds=1", "data.tasks=4")
    (path,) = cut_off(job, 2, folder, power_cuts)
    there, state, seconds = RunFolder(path.parent).restore() or pytest.fail("no checkpoint")
    more = {"more": 1.0} if reason == "other columns" else {}
    RunFolder(path.parent).save([{**there[0], "task": task + 1, **more} for task in range(rows)], state, seconds)
    outcome = train(*job, "results_dir=cut")
    assert reason in outcome.out
    assert "the run starts again" in outcome.out
    assert metrics(folder / "cut") == metrics(folder / "whole")
