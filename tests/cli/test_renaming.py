"""Runs that an older version named: how they are read, and that nothing is lost when they get their present names."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from cbp_experiments.analysis.tenths import settings
from cbp_experiments.cli.renaming import main
from cbp_experiments.results import load_experiment, read_experiment
from cbp_experiments.results.naming import KIND, TARGET
from cbp_experiments.results.older import older_name
from tests.command import call, files, metrics, train

EXPERIMENT = "permuted_mnist"


def as_then(run: Path) -> Path:
    """Give a run the form, and the folder, that the older version gave it."""
    facts, config = json.loads((run / "run.json").read_text()), yaml.safe_load((run / "config.yaml").read_text())
    older = run.with_name(older_name(config, facts["seed"]))
    for key in ("settings", "numbers"):
        del facts[key]
    (run / "run.json").write_text(json.dumps(facts, indent=2) + "\n")
    for values in config.values():
        if isinstance(values, dict):
            values.pop(KIND, None)
    del config["engine"][TARGET]
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return run.rename(older)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: data for name, (data, _) in files(folder).items() if not name.endswith(".lock")}


@pytest.fixture
def present(tmp_path: Path) -> Path:
    """Runs of two learners, with their plan, as they are when the first version of the numerics has made them."""
    outcome = call("-m", "learner=linear,snp", "seeds=2", f"results_dir={tmp_path / 'results'}")
    assert outcome.code == 0, outcome
    runs = sorted((tmp_path / "results" / EXPERIMENT).glob("*_seed[01]"))
    assert len(runs) == 4
    for run in runs:
        facts = json.loads((run / "run.json").read_text())
        del facts["numbers"]
        last = {"numbers": 1, "settings": facts.pop("settings")}
        (run / "run.json").write_text(json.dumps(facts | last, indent=2) + "\n")
    return tmp_path / "results"


@pytest.fixture
def older(present: Path, tmp_path: Path) -> Path:
    """The same in the older form."""
    folder = tmp_path / "older"
    shutil.copytree(present, folder)
    experiment = folder / EXPERIMENT
    plan = json.loads((experiment / "planned.json").read_text())
    then = {as_then(experiment / run).name: entry for run, entry in plan.items()}
    (experiment / "planned.json").write_text(json.dumps(dict(sorted(then.items())), indent=1) + "\n")
    assert not set(plan) & set(then)
    return folder


def test_renamed_runs_are_byte_for_byte_what_they_would_be_now(present: Path, older: Path) -> None:
    assert set(metrics(older).values()) == set(metrics(present).values())
    assert main([str(older)]) == 0
    assert contents(older) == contents(present)
    before = files(older)
    assert main([str(older)]) == 0
    assert files(older) == before


def interrupt_at(patch: pytest.MonkeyPatch, number: int, after: bool) -> None:
    """Let the `number`-th rename be the last change, not done or just done."""
    count = 0

    def dying(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*args: Any) -> None:
            nonlocal count
            count += 1
            if count < number or (after and count == number):
                change(*args)
            if count >= number:
                raise KeyboardInterrupt

        return changed

    patch.setattr(os, "rename", dying(os.rename))
    patch.setattr(os, "replace", dying(os.replace))


@pytest.mark.parametrize("after", [False, True])
def test_whatever_interrupts_it_the_same_command_goes_on(
    present: Path, older: Path, tmp_path: Path, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    whole = contents(present)
    for number in range(1, 100):
        folder = tmp_path / f"killed{number}"
        shutil.copytree(older, folder)
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(patch, number, after)
            try:
                assert main([str(folder)]) == 0
                break
            except KeyboardInterrupt:
                pass
        assert main([str(folder)]) == 0
        assert contents(folder) == whole, number
    assert number == 1 + 1 + 3 * 4  # the plan, and three changes a run


def test_older_runs_are_read_as_they_are(present: Path, older: Path) -> None:
    now, then = (load_experiment(folder / EXPERIMENT) for folder in (present, older))
    assert settings(then) == settings(now) == ["learner.name"]
    by = ["learner.name", "seed", "task"]
    told = [frame.sort_values(by).drop(columns="run").reset_index(drop=True) for frame in (now, then)]
    assert told[0].equals(told[1])


def test_a_run_that_is_there_in_both_forms_counts_once(present: Path, older: Path) -> None:
    experiment = present / EXPERIMENT
    (run, *_) = (older / EXPERIMENT).glob("snp_*_seed0")
    shutil.copytree(run, experiment / run.name)
    found = read_experiment(experiment)
    assert found.frame["run"].nunique() == 4
    assert found.left_out == [f"left out (another folder has the same settings and seed): {run.name}"]


def test_no_folder_is_overwritten_or_guessed(present: Path, older: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = older / EXPERIMENT
    (there, *_) = (present / EXPERIMENT).glob("snp_*_seed0")
    shutil.copytree(there, experiment / there.name)
    first, second = sorted(experiment.glob("linear_*"))
    wrong = second.with_name(second.name.replace("seed1", "seed8"))
    second.rename(wrong)
    (held,) = set(experiment.glob("snp_*_seed1"))
    with FileLock(held / ".lock"):
        assert main([str(older)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert [line for line in lines if f"cannot become {there.name}, which is there already" in line]
    assert [line for line in lines if f"{wrong} is not the folder of its run" in line]
    assert [line for line in lines if f"{held} is in progress in another process" in line]
    assert not first.exists()


def test_a_class_of_the_users_own_is_found_from_the_current_folder(
    older: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = older / EXPERIMENT
    (run, *_) = experiment.glob("linear_*_seed0")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["network"] = {TARGET: "nets_of_mine.Net", "width": 7, "shape": "round"}
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    run = run.rename(run.with_name(older_name(config, 0)))
    monkeypatch.chdir(tmp_path)
    assert main([str(older)]) == 2
    assert "nets_of_mine.Net cannot be imported; run this from the folder of its module" in capsys.readouterr().err
    (tmp_path / "nets_of_mine.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Net:\n    width: int = 7\n    shape: str = 'flat'\n"
    )
    assert main([str(older)]) == 0
    assert not run.exists()
    found = [json.loads(path.read_text())["settings"]["network"] for path in experiment.glob("linear_*/run.json")]
    assert {KIND: "Net", "shape": "round"} in found


def test_runs_that_were_planned_and_never_trained_keep_their_place_where_it_can_be_told(
    present: Path, older: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (gone, *_) = (older / EXPERIMENT).glob("snp_*_seed1")
    shutil.rmtree(gone)
    path = older / EXPERIMENT / "planned.json"
    never = {"bp_01234567_seed0": {"setting": "bp", "seed": 0, "scale": "laptop"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | never))
    assert main([str(older)]) == 0
    assert path.read_text() == (present / EXPERIMENT / "planned.json").read_text()
    assert "1 planned run of which no seed was trained: the sweep's command plans them again" in capsys.readouterr().out


def test_no_folder_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "no")]) == 2
    assert capsys.readouterr().err == f"error: there is no folder {tmp_path / 'no'}\n"


def test_what_an_older_version_named_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train("learner=bp")
    (run,) = Path("results/permuted_mnist").glob("bp_*")
    older = as_then(run)
    again = call("learner=bp")
    how = "python scripts/rename_results.py results/permuted_mnist"
    assert (again.code, again.out) == (2, "")
    assert again.err == (
        f"error: results/permuted_mnist has 1 run named by an older version, {older.name} for one, which would be "
        f"trained again; rename first: {how}\n"
    )
    assert not list(Path("results").glob("**/planned.json"))
    status = call("status", "learner=bp")
    assert status.code == 1
    assert (
        f"1 run in results/permuted_mnist named by an older version, not counted here; rename with: {how}" in status.out
    )
    assert main(["results"]) == 0
    assert call("status", "learner=bp").code == 0
    assert "already finished" in train("learner=bp").out
