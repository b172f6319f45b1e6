"""`tune`: a grid on seeds of its own, what was tried and what is chosen, and the runs that take the choice."""

import math
import shutil
import sys
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
import yaml

from cbp_experiments.analysis.tuning import select
from cbp_experiments.cli.compose import CONF, compose
from cbp_experiments.results import load_experiment
from cbp_experiments.results.provenance import NUMBERS
from cbp_experiments.results.tuned import FACTS, read_choice, read_settings
from cbp_experiments.training.job import Job, build_job
from tests.command import TINY, Outcome, call, files

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (CONF / "grid").glob("*.yaml"))
TUNINGS = sorted({name.rpartition("_")[0] for name in NAMES})
COMMITTED = sorted((ROOT / "results" / "tuning").glob("*/*/settings.csv"))
STEPS = "learner.step_size=0.01,0.1,0.03"
SMALL = ("learner=bp", "data.tasks=3")  # with STEPS, which replaces the values of the grid
SHORT = ("data.tasks=1", "data.task_length=10", "tuning_seeds=[50]")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tune(*arguments: str) -> Outcome:
    base = [argument for argument in TINY if not argument.startswith("seeds=")]
    return call("tune", *arguments, base=base)


def jobs(*arguments: str, tune: bool = False) -> list[Job]:
    with patch.object(sys, "argv", ["cbp-experiments", *arguments]):
        return [build_job(job.config) for job in compose(tune=tune)]


def rows(learner: str = "bp", name: str = "permuted_mnist") -> list[dict[str, str]]:
    return read_settings(Path("results/tuning") / name / learner)


def table(accuracies: dict[tuple[float, float], list[float]], diverged: tuple[float, float] = (0, 0)) -> pd.DataFrame:
    """What settings.csv holds, of two keys a and b."""
    return pd.DataFrame(
        [
            {"run": f"x_{a}{b}_seed{seed}", "a": a, "b": b, "seed": seed, "status": "complete", "accuracy": accuracy}
            | ({"status": "diverged", "accuracy": float("nan")} if (a, b) == diverged else {})
            for (a, b), values in accuracies.items()
            for seed, accuracy in enumerate(values)
        ]
    )


def test_the_best_over_all_tasks_is_chosen_and_kept(folder: Path) -> None:
    outcome = tune(*SMALL, STEPS)
    assert outcome.code == 0, outcome
    assert "results/tuning/permuted_mnist/bp: 3 settings of bp, seeds 1000, 1001, 1002\n" in outcome.out
    frame = load_experiment(folder / "results" / "tuning" / "permuted_mnist" / "bp")
    assert sorted(frame["seed"].unique()) == [1000, 1001, 1002]
    by_hand = frame.groupby("learner.step_size")["accuracy"].mean()  # all runs have equally many tasks
    choice = read_choice(folder / "results" / "tuning" / "permuted_mnist" / "bp")
    assert choice.values == {"learner.step_size": by_hand.idxmax()}
    assert choice.score == pytest.approx(by_hand.max(), abs=1e-4)
    assert (choice.seeds, choice.tasks, choice.settings) == ([1000, 1001, 1002], 3, 3)
    assert [float(row["learner.step_size"]) for row in rows()] == [0.01] * 3 + [0.1] * 3 + [0.03] * 3
    of_run = frame[frame["run"] == rows()[0]["run"]]
    assert float(rows()[0]["accuracy"]) == pytest.approx(of_run["accuracy"].mean())
    assert float(rows()[0]["last_tenth"]) == pytest.approx(of_run["accuracy"].iloc[-1])
    assert not list((folder / "results").glob("**/summary.csv"))


def test_a_tuning_without_the_folders_of_its_runs_is_finished(folder: Path) -> None:
    tune(*SMALL, STEPS)
    for path in (folder / "results").glob("**/*_seed*"):
        shutil.rmtree(path)
    before = files(folder / "results")
    outcome = tune(*SMALL, STEPS)
    assert outcome.code == 0
    assert outcome.out.count("already in settings.csv: 3 runs; skipped") == 3
    assert files(folder / "results") == before
    status = call("status", "tune", *SMALL, STEPS, base=TINY)
    assert (status.code, status.out.splitlines()[-1]) == (0, "9 runs: 9 complete")
    grown = tune(*SMALL, f"{STEPS},0.3")
    assert grown.code == 0
    assert len(rows()) == 12
    assert len(list((folder / "results").glob("**/metrics.csv"))) == 3
    assert tune(*SMALL, f"{STEPS},0.3", "force=true").code == 0
    assert len(list((folder / "results").glob("**/metrics.csv"))) == 12


def test_runs_of_another_grid_or_version_of_the_numerics(folder: Path) -> None:
    tune(*SMALL, STEPS)
    before = files(folder / "results")
    smaller = tune(*SMALL, "learner.step_size=0.01,0.1")
    assert (smaller.code, smaller.err.count("\n")) == (2, 1)
    assert "settings.csv has 3 runs that are not of this grid" in smaller.err
    assert files(folder / "results") == before
    assert tune(*SMALL, "learner.step_size=0.01,0.1", "tuned=other").code == 0
    assert len(rows(name="other")) == 6
    path = folder / "results" / "tuning" / "permuted_mnist" / "bp" / "settings.csv"
    path.write_text(path.read_text().replace(f",{NUMBERS}\n", f",{NUMBERS - 1}\n"))
    for run in path.parent.glob("*_seed*"):
        shutil.rmtree(run)
    assert tune(*SMALL, STEPS).code == 0
    assert {row["numbers"] for row in rows()} == {str(NUMBERS)}


def test_a_damaged_table_is_said_in_one_line(folder: Path) -> None:
    tune(*SMALL, STEPS)
    path = folder / "results" / "tuning" / "permuted_mnist" / "bp" / "settings.csv"
    whole = path.read_text()
    for damaged in (whole[:-20], "", "garbage,,\n", whole.replace(",status,", ",")):
        path.write_text(damaged)
        outcome = tune(*SMALL, STEPS, "force=true")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert outcome.err.count("settings.csv") == outcome.err.count("is damaged") == 1
        assert path.read_text() == damaged
    path.write_text(whole)
    choice = path.with_name("choice.yaml")
    for damage in (
        "learner: [",
        "learner: bp\n",
        "[]",
        "learner: bp\nvalues: 3\nseeds: 1\ntasks: 1\nsettings: 1\naccuracy: 1",
    ):
        choice.write_text(damage)
        outcome = call("learner=bp", "tuned=permuted_mnist")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "choice.yaml is damaged" in outcome.err
        assert "Choice" not in outcome.err


def test_each_learner_has_its_grid_and_its_choice(folder: Path) -> None:
    outcome = tune("-m", "learner=l2,snp", "learner.step_size=0.01", *SHORT)
    assert outcome.code == 0, outcome
    for learner in ("l2", "snp"):
        assert len(rows(learner)) == 6
    for row in rows("snp"):  # what goes with a value that is tried is chosen with it
        assert float(row["learner.perturbation_std"]) == pytest.approx(0.1 * float(row["learner.weight_decay"]))
    values = {
        learner: read_choice(folder / "results/tuning/permuted_mnist" / learner).values for learner in ("l2", "snp")
    }
    assert "learner.perturbation_std" in values["snp"]
    made = jobs("-m", "learner=l2,snp", "tuned=permuted_mnist", *TINY)
    for job in made:
        chosen = {key: getattr(job.learner, key.partition(".")[2]) for key in values[job.learner.name]}
        assert chosen == values[job.learner.name]
    (job,) = jobs("learner=l2", "tuned=permuted_mnist", "learner.step_size=0.5", *TINY)
    assert job.learner.step_size == 0.5  # the command line is stronger
    assert job.learner.weight_decay == values["l2"]["learner.weight_decay"]
    swept = jobs("-m", "learner=l2", "tuned=permuted_mnist", "learner.step_size=0.5,0.25", *TINY)
    assert [job.learner.step_size for job in swept] == [0.5, 0.25]


def test_an_experiment_takes_the_choice_of_each_of_its_learners(folder: Path) -> None:
    assert tune("-m", "learner=l2,cbp", "learner.step_size=0.01", *SHORT).code == 0
    own = folder / "own" / "experiment" / "both.yaml"
    own.parent.mkdir(parents=True)
    params = "hydra: {mode: MULTIRUN, sweeper: {params: {learner: 'l2,cbp', learner.momentum: '0.0,0.1'}}}"
    own.write_text(f"# @package _global_\nexperiment: both\ntuned: permuted_mnist\n{params}\n")
    made = jobs("--config-dir=own", "experiment=both", "engine=ensemble", *TINY)
    assert [(job.learner.name, job.learner.momentum) for job in made] == [
        ("l2", 0.0), ("l2", 0.1), ("cbp", 0.0), ("cbp", 0.1),
    ]  # fmt: skip
    for job in made:
        choice = read_choice(folder / "results" / "tuning" / "permuted_mnist" / job.learner.name)
        assert job.learner.step_size == choice.values["learner.step_size"]


REFUSED = [
    (
        ("tune", "learner=bp", "tuning_seeds=[7,3]", "seeds=5"),
        "tuning_seeds: seed 3 is one of the runs that are reported",
    ),
    (("tune", STEPS, "learner=bp", "tuning_seeds=2"), "tuning_seeds: seed 0 is one of the runs that are reported"),
    (("tune", STEPS, "learner=bp", "seeds=[1001]"), "tuning_seeds: seed 1001 is one of the runs"),
    (("tune", STEPS, "learner=bp", "tuning_seeds=[]"), "tuning_seeds must be a whole number or a list"),
    (("tune", "learner=bp", "learner.step_size=0.1,0.2,1e-1"), "the grid of bp has a setting twice"),
    (("tune", STEPS, "learner=bp", "tuning_seeds=[50],[60]"), "a grid has settings, each for all seeds"),
    (("tune", STEPS, "learner=bp", "tuned=null"), "tune=true is for the command `tune`, and needs a name"),
    (("tune=true", "learner=bp"), "tune=true is for the command `tune`"),
    (("tune", "experiment=demo"), "tune takes no experiment; name the data and the learner"),
    (
        ("tune", "learner=batchnorm"),
        "there is no grid for batchnorm: write conf/grid/permuted_mnist_batchnorm.yaml, or",
    ),
    (("tune", "learner=nope"), "unknown learner 'nope'"),
    (("tune", "grid=nope"), "unknown grid 'nope'"),
    (("learner=bp", "tuned=nope"), "tuned=nope: no choice for bp (results/tuning/nope/bp/choice.yaml is not there)"),
    (("learner=bp", "tuned=../x"), "tuned=../x"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_what_is_refused(arguments: tuple[str, ...], message: str, folder: Path) -> None:
    base = [argument for argument in TINY if not argument.startswith("seeds=")]
    outcome = call(*arguments, base=base)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
    assert message in outcome.err
    assert not list(folder.iterdir())


def test_an_option_that_would_be_ignored_is_refused(folder: Path) -> None:
    own = folder / "own" / "grid" / "permuted_mnist_bp.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\nhydra: {sweeper: {params: {learner.step_size: '0.1,0.2'}}}\n")
    outcome = tune("learner=bp", "--config-dir=own")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "own/grid/permuted_mnist_bp.yaml would be ignored" in outcome.err
    own.rename(own.with_name("mine.yaml"))
    assert tune("learner=bp", "--config-dir=own", "grid=mine", *SHORT).code == 0
    assert len(rows()) == 2


def test_a_seed_that_has_chosen_is_not_reported(folder: Path) -> None:
    tune(*SMALL, STEPS)
    outcome = call("learner=bp", "tuned=permuted_mnist", "seeds=[3,1001]")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "seeds: seed 1001 has chosen the settings of tuned=permuted_mnist" in outcome.err


def test_settings_that_were_chosen_at_another_size_are_said_to_be(folder: Path) -> None:
    tune(*SMALL, STEPS)
    assert "  tuned  " not in call("learner=bp", "tuned=permuted_mnist").out
    wider = call("learner=bp", "tuned=permuted_mnist", "network.width=7")
    chosen = read_choice(folder / "results" / "tuning" / "permuted_mnist" / "bp").size["network.width"]
    assert f"\n  tuned    permuted_mnist was chosen with network.width={chosen} (7 here)\n" in wider.out


@pytest.mark.slow
def test_a_launcher_trains_the_same_grid(folder: Path) -> None:
    arguments = ("-m", "learner=bp", *SHORT)
    assert tune(*arguments).code == 0
    here = (rows(), files(folder / "results" / "tuning" / "permuted_mnist" / "bp")["choice.yaml"][0])
    shutil.rmtree(folder / "results")
    assert tune(*arguments, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2").code == 0
    assert (rows(), files(folder / "results" / "tuning" / "permuted_mnist" / "bp")["choice.yaml"][0]) == here


def test_selection_by_hand() -> None:
    tried = table({(1.0, 1): [70, 80], (1.0, 2): [76, 78], (1.0, 3): [71, 72], (3.0, 1): [60, 60], (9.0, 1): [10, 10]})
    found = select(tried)
    assert found is not None
    assert (found.values, found.score, found.settings) == ({"a": 1, "b": 2}, 77, 5)
    assert [type(value) for value in found.values.values()] == [float, int], "a whole number must stay one"
    assert found.second == {"a": 1, "b": 1}
    assert found.lead is not None
    assert (found.lead.mean, found.lead.n, found.lead.above, found.lead.below) == (2, 2, 1, 1)
    assert found.at_edge == {"a": 0.3}  # 1 / 3; b is within its grid
    equal = select(table({(1, 2): [70.0], (1, 1): [70.0]}))
    assert equal is not None
    assert equal.values == {"a": 1, "b": 2}  # the first


def test_a_setting_that_diverges_is_not_chosen() -> None:
    found = select(table({(1, 1): [99, 99], (1, 2): [50, 50]}, diverged=(1, 1)))
    assert found is not None
    assert (found.values, found.out, found.second) == ({"a": 1, "b": 2}, [{"a": 1, "b": 1}], None)
    assert select(table({(1, 1): [99, 99]}, diverged=(1, 1))) is None


@pytest.mark.parametrize(
    ("values", "best", "beyond"),
    [
        ([1e-3, 3e-3, 1e-2], 1e-2, 0.03),
        ([1e-3, 3e-3, 1e-2], 1e-3, 3e-4),
        ([1e-3, 3e-3, 1e-2], 3e-3, None),
        ([0.9, 0.99, 0.999], 0.999, 0.9999),
        ([0.9, 0.99, 0.999], 0.9, 0.0),
        ([0.0, 0.1, 0.2], 0.0, None),
        ([1e-5, 1e8], 1e-5, 1e-6),
        ([1, 2], 1, None),
        ([1, 2, 4], 4, 8),
    ],
)
def test_the_edge_of_a_grid_and_what_to_add(values: list[float], best: float, beyond: float | None) -> None:
    found = select(table({(value, 1.0): [90.0 if value == best else 10.0] for value in values}))
    assert found is not None
    assert found.at_edge == ({} if beyond is None else {"a": pytest.approx(beyond)})


def settings_of(name: str) -> int:
    """How many settings a grid of conf/grid has."""
    params = yaml.safe_load((CONF / "grid" / f"{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    return math.prod(len(set(map(float, values.split(",")))) for values in params.values())


@pytest.mark.parametrize("tuning", TUNINGS)
def test_the_grids_of_a_tuning_have_equally_many_settings(tuning: str) -> None:
    sizes = {settings_of(name) for name in NAMES if name.rpartition("_")[0] == tuning}
    assert len(sizes) == 1
    assert min(sizes) >= 12


@pytest.mark.parametrize("tuning", TUNINGS)
def test_no_tuning_seed_is_one_of_the_reported_runs(tuning: str) -> None:
    job = jobs(*options_of(f"{tuning}_l2"), "learner.step_size=0.01", "learner.weight_decay=0.1", tune=True)[0]
    assert job.seeds == [1000, 1001, 1002]
    assert job.experiment == f"tuning/{tuning}/l2"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_a_grid_is_a_job_of_its_own(name: str) -> None:
    made = jobs(*options_of(name), tune=True)
    assert len({repr(job.learner) for job in made}) == len(made) == settings_of(name)


def options_of(name: str) -> list[str]:
    tuning, _, learner = name.rpartition("_")
    return [f"tuning={tuning}", f"learner={learner}", *(["data=continual_imagenet"] if "imagenet" in name else [])]


def test_a_grid_begins_with_its_command() -> None:
    for name in NAMES:
        lines = (CONF / "grid" / f"{name}.yaml").read_text().splitlines()
        tuning, _, learner = name.rpartition("_")
        option = "data" if (CONF / "data" / f"{tuning}.yaml").exists() else "tuning"
        assert lines[1] == f"# python -m cbp_experiments tune {option}={tuning} learner={learner}"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_what_is_committed_is_what_its_table_selects(path: Path) -> None:
    tried = pd.read_csv(path)
    found, choice = select(tried), read_choice(path.parent)
    assert found is not None
    assert found.values.items() <= choice.values.items()
    assert choice.score == pytest.approx(found.score, abs=1e-4)
    settings = settings_of(f"{path.parts[-3]}_{path.parts[-2]}")
    assert (found.settings, sorted(tried["seed"].unique())) == (settings, choice.seeds)
    assert found.at_edge == choice.at_edge == {}
    assert {*FACTS} < {*tried.columns}
    assert yaml.safe_load((path.parent / "choice.yaml").read_text())["learner"] == path.parent.name
