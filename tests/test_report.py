"""The report: its findings against numbers computed by hand, and the page that shows them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cbp_experiments.figures.draw import PAPER
from cbp_experiments.report import findings, sections
from cbp_experiments.report import page as page_module
from cbp_experiments.report.findings import Finding, change
from cbp_experiments.report.page import main
from cbp_experiments.report.sections import SECTIONS
from cbp_experiments.report.tables import methods
from cbp_experiments.results import add_to_plan
from cbp_experiments.words import duration
from tests.figures.frames import run
from tests.folders import folder_of, make_run

TASKS = 20


def line(start: float, end: float, seed: int) -> list[float]:
    """Twenty accuracies on a line, a point higher for each seed."""
    return list(np.linspace(start, end, TASKS) + seed)


def seeds(learner: str, start: float, end: float, count: int = 3, config: dict[str, Any] | None = None) -> pd.DataFrame:
    return pd.concat([run(learner, seed, line(start, end, seed), config=config) for seed in range(count)])


def only(found: list[Finding]) -> Finding:
    (finding,) = found
    return finding


def test_a_change_is_the_paired_difference_and_its_interval() -> None:
    found = change("BP", np.array([80.0, 90.0, np.nan]), np.array([70.0, 79.0, 1.0]))
    assert (found.seeds, found.start, found.last, found.difference) == (2, 85.0, 74.5, -10.5)
    assert (found.low, found.high) == (-11.0, -10.0)
    assert found.falls
    assert not found.rises
    one = change("BP", np.array([80.0]), np.array([70.0]))
    assert not one.known
    assert not one.falls


def test_changes_are_from_the_first_tenth_to_the_last() -> None:
    frame = pd.concat([seeds("bp", 80, 61), seeds("cbp", 80, 80)])
    bp, cbp = findings.changes(frame, "accuracy")
    assert (bp.name, bp.seeds, bp.start, bp.last, bp.difference) == ("BP", 3, 80.5, 62.5, -18.0)
    assert (cbp.difference, cbp.low, cbp.high) == (0.0, 0.0, 0.0)
    rising = findings.changes(frame, "dead_units")[0]
    assert (rising.start, rising.last, rising.difference) == (2.5, 20.5, 18.0)
    assert rising.rises
    unfinished = pd.concat([frame, run("bp", 3, line(80, 61, 3), "incomplete"), run("bp", 4, [1.0], "diverged")])
    assert findings.changes(unfinished, "accuracy")[0] == bp


def test_a_loss_counts_from_the_best_twentieth_where_learning_is_slow() -> None:
    climbing = [*np.linspace(50, 80, 10), *np.linspace(79, 70, 10)]
    frame = pd.concat([run("bp", seed, [value + seed for value in climbing]) for seed in range(3)])
    finding = only(findings.loses(frame))
    assert finding.agrees
    assert "from 81.00 % in its best twentieth of the tasks to 71.50 % in the last tenth, −9.50 [−9.50" in finding.text
    assert "The first tenth: 52.67 %, +18.83" in finding.text
    assert only(findings.loses(seeds("bp", 60, 80))).agrees is False


def test_the_best_twentieth_is_chosen_by_the_other_runs() -> None:
    rng = np.random.default_rng(0)
    flat = pd.concat([run("bp", seed, list(80 + rng.normal(0, 1, 200))) for seed in range(20)])
    best = findings.best_twentieth(flat, "accuracy")
    assert abs(best.mean() - 80) < 0.15  # its own luck would give each run about half a point more
    peak = pd.concat([run("bp", seed, [1.0, 2.0, 9.0 + seed, *[3.0] * 17]) for seed in range(2)])
    assert findings.best_twentieth(peak, "accuracy").tolist() == [9.0, 10.0]


def test_moves() -> None:
    frame = seeds("bp", 80, 61)
    assert only(findings.moves(frame, "accuracy", "falls")) == Finding(
        "BP: accuracy 80.50 % → 62.50 %, −18.00 [−18.00, −18.00] points: it falls.", True
    )
    assert only(findings.moves(frame, "weight_magnitude", "rises")) == Finding(
        "BP: mean |weight| 0.1000 → 0.1000, +0.0000 [+0.0000, +0.0000]: no change beyond chance.", False
    )
    assert only(findings.moves(frame, "accuracy", "rises")).agrees is False
    assert only(findings.moves(seeds("bp", 80, 61, count=1), "accuracy", "falls")).agrees is None
    unfinished = only(findings.moves(run("bp", 0, [1.0], "incomplete"), "accuracy", "falls"))
    assert unfinished == Finding("BP: no complete runs.", None)


def test_keeps_allows_a_point() -> None:
    assert only(findings.keeps(seeds("cbp", 80, 79.5), "cbp")).agrees is True
    assert only(findings.keeps(seeds("cbp", 80, 78), "cbp")).agrees is False


def test_learners_are_compared_within_a_seed() -> None:
    frame = pd.concat([seeds("bp", 70, 70), seeds("cbp", 80, 80, count=2)])
    finding = only(findings.compare(frame, "accuracy", "cbp", ["bp"], "above"))
    assert finding.text == "Accuracy at the end: CBP 80.50 %, above BP with 70.50 %; +10.00 [+10.00, +10.00] points."
    assert finding.agrees is True
    assert only(findings.compare(frame, "accuracy", "cbp", ["bp"], "below")).agrees is False
    assert only(findings.compare(frame, "accuracy", "cbp", ["l2"], "above")).agrees is None


def test_the_order_at_the_end() -> None:
    frame = pd.concat([seeds("bp", 70, 70), seeds("cbp", 80, 80), seeds("l2", 75, 75)])
    assert only(findings.best_of(frame, "cbp")) == Finding(
        "Order at the end: CBP 81.00 %, L2 76.00 %, BP 71.00 %.", True
    )
    assert only(findings.best_of(frame, "l2")).agrees is False
    assert only(findings.best_of(frame, "adam")).agrees is None


def test_the_spread_between_settings() -> None:
    rates = {1e-3: 70, 1e-4: 80, 1e-5: 81, 1e-6: 82}
    cbp = [seeds("cbp", end, end, config={"learner.replacement_rate": rate}) for rate, end in rates.items()]
    l2 = [seeds("l2", end, end, config={"learner.weight_decay": d}) for d, end in ((1e-3, 70), (1e-4, 76))]
    frame = pd.concat([*cbp, *l2])
    assert findings.spread_by_seed(frame, "cbp").tolist() == [12.0, 12.0, 12.0]
    assert findings.spread_by_seed(frame, "cbp", neighbours=3).tolist() == [2.0, 2.0, 2.0]
    assert only(findings.steadier(frame, "cbp", ["l2"])).agrees is False
    finding = only(findings.steadier(frame, "cbp", ["l2"], neighbours=3))
    assert finding.agrees is True
    assert "3 neighbouring settings of CBP: 2.00 points at the end; of L2: 6.00 points; −4.00 [" in finding.text
    assert only(findings.steadier(frame, "cbp", ["snp"])).agrees is None


def test_the_lowest_setting_of_bp_against_the_linear_learner() -> None:
    bp = [seeds("bp", 80, end, config={"learner.step_size": size}) for size, end in ((0.01, 60), (0.001, 75))]
    level = sections.level_with_linear(pd.concat([*bp, seeds("linear", 60, 60)]))
    assert only(level).agrees is True
    assert only(level).text.startswith("BP, step size 0.01 ends at 61.5")
    apart = sections.level_with_linear(pd.concat([*bp, seeds("linear", 50, 50)]))
    assert only(apart).agrees is False


def test_every_figure_has_a_section_that_looks_at_whatever_is_there() -> None:
    assert list(SECTIONS) == list(PAPER)
    for name, section in SECTIONS.items():
        nothing: list[pd.DataFrame | None] = [None] * len(PAPER[name].experiments)
        assert section.look(nothing) == []
        for learner in ("bp", "cbp", "linear"):
            frames: list[pd.DataFrame | None] = [seeds(learner, 80, 70) for _ in nothing]
            assert all(finding.text.endswith(".") and "nan" not in finding.text for finding in section.look(frames))


def test_the_table_of_methods() -> None:
    frame = pd.concat([seeds("bp", 70, 51), seeds("cbp", 80, 80)]).reset_index(drop=True)
    cbp, bp = methods(frame)
    assert (cbp.name, cbp.seeds, bp.name, bp.seeds) == ("CBP", 3, "BP", 3)
    assert [cell.mean for cell in bp.cells] == ["70.50", "61.50", "52.50", "20.50", "0.1000", "–"]
    assert [cell.best for cell in cbp.cells] == [False, False, True, False, False, False]
    assert re.fullmatch(r"\d+\.\d\d to \d+\.\d\d", cbp.cells[0].interval)
    alone = methods(run("bp", 0, line(70, 51, 0)))[0]
    assert {cell.interval for cell in alone.cells} == {""}
    assert methods(run("bp", 0, [1.0], "incomplete")) == []


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


def test_the_same_runs_give_the_same_bytes(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "png", lambda name, sources: name)  # whose bytes the figures' tests compare
    assert main(["--results-dir", str(results)]) == 0
    before = (results / "report.html").read_bytes()
    assert main(["--results-dir", str(results)]) == 0
    assert (results / "report.html").read_bytes() == before


def test_no_runs_are_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results-dir", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: no runs of the paper's experiments in {tmp_path}; make some with: python -m ")
    assert not (tmp_path / "report.html").exists()


def test_damaged_runs_are_said_on_the_page(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "png", lambda name, sources: name)
    name = folder_of(results, {"learner": {"name": "bp"}, "seed": 0}).path.name
    (results / "permuted_mnist" / "step_sizes").mkdir()
    broken = (results / "permuted_mnist" / "step_sizes" / name) / "run.json"
    (results / "permuted_mnist" / "methods" / name).rename(broken.parent)
    broken.write_text(json.dumps({"status": "complete"}))
    assert main(["--results-dir", str(results)]) == 0
    page = (results / "report.html").read_text(encoding="utf-8")
    assert f"Results/permuted_mnist/step_sizes/{name}/run.json is damaged" in page
