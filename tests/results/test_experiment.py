"""An experiment read back: which folders count as runs, and how those of several versions of the code fit together."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbp_experiments.analysis.evidence import load_evidence
from cbp_experiments.analysis.summaries import main as summarize
from cbp_experiments.analysis.tenths import settings, table
from cbp_experiments.errors import ConfigError
from cbp_experiments.figures import draw as drawing
from cbp_experiments.figures.captions import caption
from cbp_experiments.figures.panels import every_task
from cbp_experiments.report.chapters import gaps
from cbp_experiments.results import load_experiment, read_experiment
from cbp_experiments.results.provenance import NUMBERS
from tests.command import TINY, call, metrics, train
from tests.folders import folder_of, make_run

ROWS = [{"task": task, "examples": 10 * task, "accuracy": 80.0 + task} for task in (1, 2, 3)]
OTHER = NUMBERS + 1
LEARNER = {"_kind_": "learner", "name": "bp", "step_size": 0.1}


def config(seed: int = 0, **learner: Any) -> dict[str, Any]:
    return {"experiment": "demo", "scale": "smoke", "seed": seed, "learner": LEARNER | learner}


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a run.json; None removes one."""
    run = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in run.items() if value is not None}))


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """results/demo with two seeds of one setting."""
    for seed in (0, 1):
        make_run(tmp_path / "demo", config(seed), ROWS)
    return tmp_path / "demo"


@pytest.mark.parametrize("copy", ["{} copy", "{} (1)", "Copy of {}", "{}.bak", "renamed"])
def test_a_copy_is_no_seed(demo: Path, copy: str) -> None:
    run = folder_of(demo, config(1)).path
    before = load_experiment(demo)
    shutil.copytree(run, demo / copy.format(run.name))
    found = read_experiment(demo)
    assert found.frame.equals(before)
    assert len(found.facts) == 2
    assert found.left_out == [f"left out (its name is not that of its run): {copy.format(run.name)}"]


def said_everywhere(demo: Path, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether captions, figures' lines on the terminal, the report and the summary say `text`."""
    monkeypatch.setattr(drawing, "picture", lambda name, sources: None)
    monkeypatch.setattr(drawing, "save", lambda figure, stem: [stem, stem])
    source = load_evidence(demo.parent, None, "demo")
    assert summarize(["demo", "--results-dir", str(demo.parent)]) == 0
    said = [caption([source], every_task), *gaps(source, demo.parent), drawing.draw("demo", demo.parent)[0]]
    return all(text in words for words in [*said, capsys.readouterr().out])


def test_a_copy_is_named(demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder_of(demo, config(1)).path
    shutil.copytree(run, demo / f"{run.name} copy")
    assert said_everywhere(demo, f"{run.name} copy", capsys, monkeypatch)


def test_a_copy_that_looks_like_another_seed_or_setting_is_none(demo: Path) -> None:
    run = folder_of(demo, config(1)).path
    for name in (run.name.replace("seed1", "seed7"), folder_of(demo, config(1, step_size=0.5)).path.name):
        shutil.copytree(run, demo / name)
        assert read_experiment(demo).left_out == [f"left out (its name is not that of its run): {name}"]
        shutil.rmtree(demo / name)


def test_the_copy_alone_is_a_line(demo: Path) -> None:
    for seed in (0, 1):
        path = folder_of(demo, config(seed)).path
        path.rename(path.with_name(f"{path.name} copy"))
    with pytest.raises(ConfigError, match=r"seed0 copy is not the folder of its run"):
        load_experiment(demo)


def test_many_copies_are_counted(demo: Path) -> None:
    run = folder_of(demo, config(1)).path
    for number in range(10):
        shutil.copytree(run, demo / f"{run.name} ({number})")
    (line,) = read_experiment(demo).left_out
    assert f"{run.name} (0), " in line
    assert line.endswith(f"{run.name} (5), and 4 more")


def test_a_damaged_copy_disturbs_nothing(demo: Path) -> None:
    run = folder_of(demo, config(1)).path
    shutil.copytree(run, demo / f"{run.name} copy")
    (demo / f"{run.name} copy" / "run.json").write_text("{")
    assert len(load_experiment(demo)) == 6


def test_the_last_line_of_an_incomplete_run_may_be_half_there(demo: Path) -> None:
    path = folder_of(demo, config(0)).path
    edit(path / "run.json", status="incomplete", tasks_done=None)
    text = (path / "metrics.csv").read_text()
    for end, tasks in ((len(text) - 1, 2), (len(text) - 4, 2), (text.index("2,"), 1), (8, 0), (0, 0)):
        (path / "metrics.csv").write_text(text[:end])
        frame = load_experiment(demo, runs=[path.name])
        assert frame["task"].tolist() == (list(range(1, tasks + 1)) or [0])
    edit(path / "run.json", status="complete", tasks_done=3)
    (path / "metrics.csv").write_text(text[:-1])
    with pytest.raises(ConfigError, match="a line is cut short"):
        load_experiment(demo)


def test_runs_with_other_columns_are_read_one_after_the_other(demo: Path) -> None:
    rows = [{"task": 1, "examples": 10, "accuracy": 50.0, "dead_units": 3.0}]
    make_run(demo, config(0, name="cbp"), rows)
    make_run(demo, config(1, name="cbp"), [])
    make_run(demo, config(2, name="cbp"), rows)
    frame = load_experiment(demo)
    assert frame["task"].tolist() == [1, 2, 3, 1, 2, 3, 1, 0, 1]
    assert frame["dead_units"].dropna().tolist() == [3.0, 3.0]
    assert frame["run"].nunique() == 5
    assert list(frame["run"]) == sorted(frame["run"])


def newer(experiment: Path, seed: int, values: dict[str, Any], named: dict[str, Any]) -> Path:
    """A run of a later version, whose learner has more keys than those that name it."""
    given = config(seed, **named)
    path = make_run(experiment, given, ROWS)
    given["learner"] |= values
    (path / "config.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    return path


def test_a_key_that_older_runs_lack_has_its_neutral_value_there(demo: Path) -> None:
    newer(demo, 2, {"momentum": 0.0}, {})
    frame = load_experiment(demo)
    assert settings(frame) == ["learner.name"]
    assert frame["learner.momentum"].unique().tolist() == [0.0]
    newer(demo, 0, {"momentum": 0.0}, {"step_size": 0.2})
    newer(demo, 0, {"momentum": 0.9}, {"momentum": 0.9})
    frame = load_experiment(demo)
    assert settings(frame) == ["learner.name", "learner.step_size", "learner.momentum"]
    assert frame.drop_duplicates("run").groupby(settings(frame)[1:]).size().tolist() == [3, 1, 1]


def test_a_key_of_another_kind_stays_empty(demo: Path) -> None:
    newer(demo, 2, {"momentum": 0.0}, {"_kind_": "mine"})
    frame = load_experiment(demo)
    assert frame["learner.momentum"].isna().sum() == 6
    assert len(settings(frame)) > 1


def test_versions_of_the_numerics_that_are_mixed_are_said(
    demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(folder_of(demo, config(1)).path / "run.json", numbers=2)
    said = "ixed versions of the numerics: 1 run of version 1, 1 run of version 2 (CHANGELOG.md says what moved)"
    frame = load_experiment(demo)
    assert settings(frame) == ["learner.name"]
    assert table(frame).splitlines()[-1] == f"m{said}"
    assert said_everywhere(demo, said, capsys, monkeypatch)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    train("learner=bp")
    (path,) = (tmp_path / "results" / "permuted_mnist").glob("bp_*")
    return path


def test_a_finished_run_of_other_numerics_stays_and_is_said(trained: Path) -> None:
    edit(trained / "run.json", numbers=OTHER)
    before = metrics(trained.parents[1])
    again = train("learner=bp")
    said = f"made by version {OTHER} of the numerics, this is {NUMBERS} (CHANGELOG.md says what moved): {trained.name}"
    assert said in again.out
    assert metrics(trained.parents[1]) == before
    status = call("status", "learner=bp")
    assert status.code == 0
    assert f": 1 run of version {OTHER} of the numerics; this is version {NUMBERS} (CHANGELOG.md" in status.out
    train("learner=bp", "force=true")
    assert "numerics" not in train("learner=bp").out


@pytest.mark.parametrize("arguments", [[], ["force=true"]])
def test_a_folder_that_holds_another_run_is_refused(trained: Path, arguments: list[str]) -> None:
    """Continued or trained over, a renamed folder would be a mixture of two runs, or lost."""
    other = trained.with_name(trained.name.replace("seed0", "seed3"))
    trained.rename(other)
    for command in ([], ["status"]):
        outcome = call(*command, "learner=bp", "seeds=[3]", *arguments, base=TINY)
        assert outcome.code == 2
        assert outcome.err.endswith(
            f"{other.name} holds another run than its name says (a copy, or renamed); move it away\n"
        )
    assert (other / "metrics.csv").exists()
