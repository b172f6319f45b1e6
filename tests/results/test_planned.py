"""What an experiment consists of: the plan that a sweep writes, and which runs are missing by it."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from cbp_experiments.analysis.evidence import Evidence, Missing, listed, load_evidence, missing_runs
from cbp_experiments.errors import ConfigError
from cbp_experiments.results import Planned, add_to_plan, plan_of
from tests.command import call, train
from tests.figures.frames import run
from tests.folders import make_run

SWEEP = ("-m", "learner=bp,cbp", "learner.step_size=0.01,0.003", "seeds=2", "results_dir=results")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sweep_writes_its_plan_and_what_is_deleted_is_named(folder: Path) -> None:
    assert call(*SWEEP).code == 0
    experiment = folder / "results" / "permuted_mnist"
    plan = plan_of(experiment)
    assert set(plan) == {path.name for path in experiment.iterdir() if path.is_dir()}
    settings = {f"{learner}, learner.step_size={size}" for learner in ("bp", "cbp") for size in (0.01, 0.003)}
    assert {(entry["setting"], entry["seed"]) for entry in plan.values()} == {
        (s, seed) for s in settings for seed in (0, 1)
    }
    assert load_evidence(folder / "results", None, "permuted_mnist").missing == []
    wanted = {"setting": "cbp, learner.step_size=0.003", "seed": 1, "scale": "smoke"}
    (gone,) = [name for name, entry in plan.items() if entry == wanted]
    shutil.rmtree(experiment / gone)
    source = load_evidence(folder / "results", None, "permuted_mnist")
    assert source.missing == [Missing("cbp", "cbp, learner.step_size=0.003", 1)]
    assert source.of(["bp"]).missing == []


def test_a_single_job_and_a_sweep_that_cannot_be_done_plan_nothing(folder: Path) -> None:
    train("learner=bp", "results_dir=one")
    assert not list(folder.glob("**/planned.json"))
    failed = call("-m", "learner=bp,cbp", "engine=online", "data.batch_size=2", "results_dir=none")
    assert failed.code == 2
    assert not (folder / "none").exists()


def test_plans_are_added_to(folder: Path) -> None:
    first: dict[str, Planned] = {"a": {"setting": "bp", "seed": 0, "scale": "smoke"}}
    add_to_plan(folder / "x", first)
    before = (folder / "x" / "planned.json").stat()
    add_to_plan(folder / "x", {"a": {"setting": "bp, learner.step_size=0.01", "seed": 0, "scale": "smoke"}})
    after = (folder / "x" / "planned.json").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)  # nothing new, nothing written
    second: dict[str, Planned] = {"b": {"setting": "cbp", "seed": 0, "scale": "smoke"}}
    add_to_plan(folder / "x", second)
    assert plan_of(folder / "x") == {**first, **second}


def test_many_at_once_lose_nothing(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        plans = [{f"run{seed}": Planned(setting="bp", seed=seed, scale="smoke")} for seed in range(24)]
        list(pool.map(lambda plan: add_to_plan(folder, plan), plans))
    assert {entry["seed"] for entry in plan_of(folder).values()} == set(range(24))
    assert {path.name for path in folder.iterdir()} == {"planned.json", ".planned.lock"}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"setting": "bp"}}'])
def test_a_damaged_plan_is_one_line(folder: Path, text: str) -> None:
    (folder / "planned.json").write_text(text)
    with pytest.raises(ConfigError, match=r"planned.json cannot be read \(.*delete it") as raised:
        plan_of(folder)
    assert len(str(raised.value).splitlines()) == 1


def test_without_a_plan_the_seeds_that_others_have_are_missing(folder: Path) -> None:
    config = {"learner.step_size": 0.01}
    runs = [run("bp", seed, [1.0], config=config) for seed in (0, 1, 2)]
    runs += [run("bp", 1, [1.0], config={"learner.step_size": 0.003}), run("cbp", 0, [1.0], config=config)]
    assert missing_runs(folder, pd.concat(runs)) == [
        *(Missing("bp", "bp, learner.step_size=0.003", seed) for seed in (0, 2)),
        *(Missing("cbp", "cbp", seed) for seed in (1, 2)),
    ]
    scales = [run("bp", seed, [1.0], config={"scale": "laptop"}) for seed in (0, 1)]
    assert missing_runs(folder, pd.concat([*scales, run("bp", 0, [1.0], config={"scale": "smoke"})])) == []
    (folder / "planned.json").write_text(json.dumps({"x": {"setting": "adam", "seed": 5, "scale": "laptop"}}))
    assert missing_runs(folder, pd.concat(runs)) == [Missing("adam", "adam", 5)]  # the plan knows better
    other = run("bp", 0, [1.0], config={"scale": "smoke"})
    assert missing_runs(folder, other) == []  # another scale's plan


def test_one_scale_is_shown_the_largest_unless_another_is_asked_for(folder: Path) -> None:
    names = {}
    for scale in ("smoke", "laptop"):
        config = {
            "experiment": "x",
            "scale": scale,
            "seed": 0,
            "learner": {"name": "bp"},
            "data": {"tasks": len(scale)},
        }
        names[scale] = make_run(folder / "x", config, [{"task": 1, "accuracy": 50.0}]).name
    largest, smoke = load_evidence(folder, None, "x"), load_evidence(folder, "smoke", "x")
    assert largest.frame is not None
    assert smoke.frame is not None
    assert (list(largest.frame["run"]), list(largest.facts["run"])) == ([names["laptop"]], [names["laptop"]])
    assert (list(smoke.frame["run"]), smoke.other_scales) == ([names["smoke"]], ("laptop",))
    assert (
        load_evidence(folder, "paper", "x").problem == f"no runs of x at scale paper in {folder}, but at laptop, smoke"
    )


def test_missing_runs_in_words() -> None:
    assert listed([]) == ""
    assert listed([Missing("cbp", "cbp", 3)]) == "1 run (cbp: seed 3)"
    missing = [Missing("bp", f"bp, learner.step_size={size}", seed) for size in range(6) for seed in (0, 1)]
    text = listed(missing)
    assert text.startswith("12 runs (bp, learner.step_size=0: seeds 0, 1; bp, ")
    assert text.endswith("; 2 more settings)")


def test_a_source_without_the_learners_asked_for_says_so() -> None:
    source = Evidence("permuted_mnist/methods", run("bp", 0, [1.0]))
    assert source.of(()) is source
    assert source.of(["bp"]).gaps == ""
    assert source.of(["bp", "l2", "snp"]).gaps == "all runs of l2, snp"
    planned = Evidence("permuted_mnist/methods", run("bp", 0, [1.0]), [Missing("l2", "l2", 0)])
    assert planned.of(["bp", "l2"]).gaps == "1 run (l2: seed 0)"
    assert source.of(["cbp"]).problem == "no runs of cbp in permuted_mnist/methods"
