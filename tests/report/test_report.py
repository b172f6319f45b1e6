"""The report: its sections, its table of methods, and the page that shows them."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from cbp_experiments.figures.draw import PAPER
from cbp_experiments.report import page as page_module
from cbp_experiments.report.page import main
from cbp_experiments.report.sections import SECTIONS
from cbp_experiments.report.tables import columns, methods
from cbp_experiments.results import add_to_plan
from cbp_experiments.results.tuned import Choice, write_choice, write_settings
from cbp_experiments.scores import SQUARED_ERROR
from cbp_experiments.words import duration
from tests.figures.frames import line, run, seeds
from tests.folders import folder_of, make_run


def test_every_figure_has_a_section_that_looks_at_whatever_is_there() -> None:
    assert list(SECTIONS) == list(PAPER)
    for name, section in SECTIONS.items():
        nothing: list[pd.DataFrame | None] = [None] * len(PAPER[name].experiments)
        assert section.look(nothing) == []
        for learner in ("bp", "cbp", "linear") if "fig8" not in name else ():
            frames: list[pd.DataFrame | None] = [seeds(learner, 80, 70) for _ in nothing]
            assert all(finding.text.endswith(".") and "nan" not in finding.text for finding in section.look(frames))


def test_the_table_of_methods() -> None:
    frame = pd.concat([seeds("bp", 70, 51), seeds("cbp", 80, 80)]).reset_index(drop=True)
    cbp, bp = methods(frame)
    assert (cbp.name, cbp.seeds, bp.name, bp.seeds) == ("CBP", 3, "BP", 3)
    assert [cell.mean for cell in bp.cells] == ["70.50", "61.50", "52.50", "20.50", "0.1000", "–"]
    assert [cell.best for cell in cbp.cells] == [False, False, True, False, False, False]
    half = 4.302652729911275 / 3**0.5  # seeds are a point apart
    assert cbp.cells[0].interval == f"{81 - half:.2f} to {81 + half:.2f}"
    alone = methods(run("bp", 0, line(70, 51, 0)))[0]
    assert {cell.interval for cell in alone.cells} == {""}
    assert methods(run("bp", 0, [1.0], "incomplete")) == []
    errors = frame.assign(accuracy=1 - frame["accuracy"] / 100).rename(columns={"accuracy": "squared_error"})
    best, other = methods(errors)  # the lower one first
    assert (best.name, best.cells[2].mean, other.cells[2].mean) == ("CBP", "0.1900", "0.4750")
    assert columns(SQUARED_ERROR)[:2] == ("Squared error, first tenth", "Squared error, all tasks")


@pytest.mark.parametrize(("seconds", "text"), [(12.3, "12 s"), (300, "5 min"), (12_240, "3.4 h")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two learners of permuted_mnist/methods, a seed of one of them missing."""
    folder = tmp_path / "permuted_mnist" / "methods"
    facts = {"versions": {"python": "3.11.7", "torch": "2.15.0"}, "git_commit": 40 * "a", "engine": "online"}
    for learner, start, end in (("bp", 80.0, 70.0), ("cbp", 80.0, 82.0)):
        for seed in (0, 1):
            config = {"experiment": "permuted_mnist/methods", "scale": "laptop", "learner": {"name": learner}}
            name = folder_of(folder, {**config, "seed": seed}).path.name
            add_to_plan(folder, {name: {"setting": learner, "seed": seed, "scale": "laptop"}})
            if (learner, seed) == ("cbp", 1):
                continue
            rows = [
                {
                    "task": task + 1,
                    "accuracy": value,
                    "dead_units": 1.0,
                    "weight_magnitude": 0.1,
                    "effective_rank": 50.0,
                }
                for task, value in enumerate(line(start, end, seed))
            ]
            make_run(
                folder, {**config, "seed": seed}, rows, {**facts, "data_description": "5,000 <images>"}, seconds=200.0
            )
    return tmp_path


def test_the_page(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results-dir", str(results)]) == 0
    assert capsys.readouterr().out.strip() == str(results / "report.html")
    page = (results / "report.html").read_text(encoding="utf-8")
    words = re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
    for word in ("http:", "https:", "<script", "<link", "@import", "url(", "//cdn", str(results)):
        assert word not in words, word
    assert page.count('src="data:image/png;base64,') == words.count("<img") == 4  # fig2a, fig4, fig5, fig6
    assert "Scale laptop: smaller than published" in words
    assert "BP: accuracy 80.24 % → 70.76 %" in words
    assert "Missing of permuted_mnist/methods: 1 run (cbp: seed 1)." in words
    assert "Missing of permuted_mnist/methods: 1 run (cbp: seed 1); all runs of l2, snp." in words
    assert "No runs in results/permuted_mnist/step_sizes; make them with: python -m cbp_experiments -m " in words
    assert "3 runs, 10 min in all" in words
    assert "python 3.11.7, torch 2.15.0" in words
    assert 12 * "a" in words
    assert 13 * "a" not in words
    assert "5,000 &lt;images&gt;" in words


def test_the_published_settings_are_beneath_the_tuned_ones(results: Path) -> None:
    folder = results / "permuted_mnist"
    shutil.copytree(folder / "methods", folder / "tuned")
    assert main(["--results-dir", str(results)]) == 0
    page = re.sub(r"data:image/png;base64,[\w+/=]+", "", (results / "report.html").read_text(encoding="utf-8"))
    sections = re.findall(r'<section id="(\w+)">(.*?)</section>', page, re.DOTALL)
    beneath = {name: text for name, text in sections if "<h3>At the published settings</h3>" in text}
    assert list(beneath) == ["fig4", "fig5", "fig6"]
    for text in beneath.values():
        assert text.count("<img") == 2
        assert "tuned on seeds 1000 to 1002</h2>" in text
        assert "-m experiment=permuted_mnist/tuned<" in text
        assert "-m experiment=permuted_mnist/methods<" in text
        assert "Laptop scale. " in text


def test_a_tuning_on_the_page(tmp_path: Path) -> None:
    rows = [
        {
            "run": f"cbp_{rate}_seed{seed}",
            "learner.replacement_rate": rate,
            "seed": seed,
            "status": "complete",
            "accuracy": accuracy,
            "last_tenth": accuracy,
            "tasks": 200,
            "numbers": 1,
        }
        for rate, accuracy in ((1e-4, 82.0), (1e-3, 83.0))
        for seed in (1000, 1001)
    ]
    folder = tmp_path / "tuning" / "permuted_mnist" / "cbp"
    folder.mkdir(parents=True)
    write_settings(folder, rows)
    write_choice(folder, Choice("cbp", {"learner.replacement_rate": 1e-3}, [1000, 1001], 200, 2, 83.0))
    assert main(["--results-dir", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (section,) = re.findall(r'<section id="fig8">(.*?)</section>', page, re.DOTALL)
    assert "python -m cbp_experiments tune -m tuning=permuted_mnist learner=cbp<" in section
    assert "4 runs; results/tuning/permuted_mnist/LEARNER/settings.csv" in section
    assert "version 1 of the numerics" in section
    assert "<dt>Commit" not in section
    assert "badge" not in section.partition("What we found")[2]  # the paper says nothing of it
    assert "best with replacement rate 0.001, 83.00 % over all tasks; at 0.0001 −1.00" in section


def test_the_same_runs_give_the_same_bytes(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "png", lambda drawn: drawn.entry.title)  # the figures' tests compare its bytes
    assert main(["--results-dir", str(results)]) == 0
    before = (results / "report.html").read_bytes()
    assert main(["--results-dir", str(results)]) == 0
    assert (results / "report.html").read_bytes() == before


def test_no_runs_are_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results-dir", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: no runs of the paper's experiments in {tmp_path}; make some with: python -m ")
    assert not (tmp_path / "report.html").exists()


def test_damaged_runs_are_said(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page_module, "png", lambda drawn: drawn.entry.title)
    name = folder_of(results, {"learner": {"name": "bp"}, "seed": 0}).path.name
    (results / "permuted_mnist" / "step_sizes").mkdir()
    broken = (results / "permuted_mnist" / "step_sizes" / name) / "run.json"
    (results / "permuted_mnist" / "methods" / name).rename(broken.parent)
    broken.write_text(json.dumps({"status": "complete"}))
    assert main(["--results-dir", str(results)]) == 0
    page = (results / "report.html").read_text(encoding="utf-8")
    assert f"Results/permuted_mnist/step_sizes/{name}/run.json is damaged" in page
    assert f"results/permuted_mnist/step_sizes/{name}/run.json is damaged" in capsys.readouterr().err
    assert main(["--results-dir", str(results), "--scale", "paper"]) == 2
    lacking = f"error: no runs of permuted_mnist/methods at scale paper in {results}, but at laptop\n"
    assert capsys.readouterr().err == lacking
