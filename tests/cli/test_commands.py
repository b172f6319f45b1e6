"""The commands besides run, status and tune: `python -m cbp_experiments plot results/demo` and its like."""

import sys
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from cbp_experiments import __main__ as entry
from tests.folders import make_run

Capture = pytest.CaptureFixture[str]
# CBP leads BP by 1, 2 and 6 points, and BP with the larger step by 10 more in every seed.
ENDS = {("cbp", 0.01): (71, 72, 76), ("bp", 0.01): (70, 70, 70), ("bp", 0.1): (60, 60, 60)}
HALF = 4.302652729911275 * (7 / 3) ** 0.5  # of the 95 % t interval of 1, 2, 6


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two experiments in the working folder: results/mine and results/sub/other, with one run in common."""
    monkeypatch.chdir(tmp_path)
    for (learner, step_size), ends in ENDS.items():
        for seed, accuracy in enumerate(ends):
            config = {
                "scale": "laptop",
                "learner": {"name": learner, "step_size": step_size},
                "data": {"tasks": 20},
                "seed": seed,
            }
            rows = [
                {"task": task, "examples": 10 * task, "accuracy": float(accuracy), "dead_units": float(task)}
                for task in range(1, 21)
            ]
            folders = ["mine"] if learner == "cbp" or step_size == 0.1 else ["mine", "sub/other"]
            for folder in folders:
                make_run(tmp_path / "results" / folder, config, rows, {"classes": 10, "data_description": "digits"})
    return tmp_path / "results"


def give(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["cbp-experiments", *arguments])
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    return int(stopped.value.code or 0)


def test_a_table_has_paired_differences(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert give(monkeypatch, "table", "mine", "--format", "csv") == 0
    rows = pd.read_csv(StringIO(capsys.readouterr().out))
    assert rows["learner.name"].tolist() == ["cbp", "bp", "bp"]
    assert rows["learner.step_size"].tolist() == [0.01, 0.01, 0.1]
    assert rows["average"].tolist() == [73, 70, 60]
    assert rows["reference"].tolist() == [True, False, False]
    assert rows["final_difference"].tolist()[1:] == [3, 13]
    ends = rows.loc[1, ["average_difference_low", "average_difference_high"]].tolist()
    assert ends == pytest.approx([3 - HALF, 3 + HALF])
    assert rows.loc[1, "average_above"] == 3


def test_a_table_as_text_markdown_and_latex(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert give(monkeypatch, "table", "results/mine", "--where", "learner.step_size=0.01") == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split() == (
        [
            "learner",
            "seeds",
            "accuracy",
            "%,",
            "all",
            "tasks",
            "difference",
            "p",
            "accuracy",
            "%,",
            "last",
            "tenth",
            "difference",
            "p",
        ]
    )
    assert f"+3.00 [{3 - HALF:+.2f}, {3 + HALF:+.2f}]" in text
    assert "difference: cbp minus the setting, paired by seed\n" in text
    assert give(monkeypatch, "table", "mine", "--format", "markdown", "--against", "bp") == 0
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("| learner | step_size | seeds | accuracy %, all tasks | difference | p |")
    assert rule.count("---") == head.count("|") - 1
    assert rows[1].startswith("| bp | 0.01 | 3 | 70.00 [70.00, 70.00] | reference |")
    assert "it was chosen from 2 settings on these seeds" in "\n".join(rows)
    assert give(monkeypatch, "table", "mine", "--format", "latex", "--out", "table.tex") == 0
    tex = Path("table.tex").read_text(encoding="utf-8")
    assert r"learner & step\_size & seeds & accuracy \%, all tasks" in tex
    assert tex.count(r" \\") == 4
    assert capsys.readouterr().out == "table.tex\n"


def test_settings_of_one_learner_are_compared_too(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert give(monkeypatch, "table", "mine", "--where", "learner.name=bp", "--format", "csv") == 0
    rows = pd.read_csv(StringIO(capsys.readouterr().out))
    assert rows["final_difference"].tolist()[1:] == [10]


def test_several_folders_are_one_table_and_a_run_counts_once(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert give(monkeypatch, "table", "mine", "sub/other", "--format", "csv") == 0
    rows = pd.read_csv(StringIO(capsys.readouterr().out))
    assert rows["seeds"].tolist() == [3, 3, 3]


@pytest.mark.parametrize("name", ["fig.png", "fig.pdf", "fig.svg"])
def test_a_plot_is_the_same_bytes_twice(
    name: str, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    contents = []
    for _ in range(2):
        assert give(monkeypatch, "plot", "mine", "sub/other", "--metrics", "accuracy,dead_units", "--out", name) == 0
        contents.append(Path(name).read_bytes())
    assert contents[0] == contents[1]
    assert capsys.readouterr().out == 2 * f"{name}\n"


def test_a_plot_is_put_into_the_folder_of_the_first_experiment(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert give(monkeypatch, "plot", "sub/other") == 0
    assert capsys.readouterr().out == "results/sub/other/plot.png\n"
    with Image.open(results / "sub" / "other" / "plot.png") as drawn:
        assert drawn.width > drawn.height / 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plot", "nothing"), "there is no folder nothing, nor results/nothing"),
        (("plot", "sub"), "no runs in results/sub; name one of the experiments in it: results/sub/other"),
        (("plot", "mine", "--scale", "paper"), "no runs of mine at scale paper in results, but at laptop"),
        (
            ("plot", "mine", "--metrics", "loss"),
            "--metrics loss: the runs do not have it; they have accuracy, dead_units",
        ),
        (("plot", "mine", "--by", "learner.name"), "runs of one setting differ in learner.step_size (0.01, 0.1)"),
        (("plot", "mine", "--by", "step"), "--by step: runs have no such key; they differ in learner.name, learner.st"),
        (("plot", "mine", "--out", "fig.doc"), "--out fig.doc: name a file that ends in .png, .pdf, .svg"),
        (("plot", "mine", "--points", "0"), "--points must be at least 1, got 0"),
        (("table", "mine", "--where", "learner.name"), "--where learner.name: write KEY=VALUE or KEY=VALUE,VALUE"),
        (("table", "mine", "--where", "learner.name=l2"), "no run has that; learner.name is bp, cbp"),
        (("table", "mine", "--against", "l2"), "no complete runs of l2 to compare with; there are: bp, cbp"),
        (("plto", "mine"), "there is no command plto; did you mean plot? (commands: run, status, tune, plot, table, "),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], said: str, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    before = sorted(results.rglob("*"))
    assert give(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert sorted(results.rglob("*")) == before


def test_the_settings_that_by_names_are_the_lines(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert give(monkeypatch, "table", "mine", "--by", "learner.step_size,data.tasks", "--format", "csv") == 0
    rows = pd.read_csv(StringIO(capsys.readouterr().out))
    assert list(rows.columns[:3]) == ["learner.name", "learner.step_size", "data.tasks"]


@pytest.mark.parametrize("command", ["summarize", "figures", "report", "prepare-imagenet"])
def test_what_scripts_do_is_a_command(command: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert give(monkeypatch, command, "--help") == 0
    assert "usage: cbp-" in capsys.readouterr().out


def test_run_may_be_said(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert give(monkeypatch, "run", "learner=nobody") == 2
    assert "nobody" in capsys.readouterr().err
