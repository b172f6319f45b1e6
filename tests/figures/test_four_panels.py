"""The four-panel figure: the numbers it plots, its marks and words, and the command that redraws it."""

import math
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from cbp_experiments.analysis.evidence import Evidence, Missing
from cbp_experiments.figures import style
from cbp_experiments.figures.captions import about, caption, frame_with_words, points
from cbp_experiments.figures.draw import FIGURES, PAPER, draw, loader, main, picture, shown, sources_of
from cbp_experiments.figures.four_panels import FEW, figure, four_panels
from cbp_experiments.figures.panels import FINE, LABELS, Bins, as_published, every_task
from tests.figures.frames import Config, bands, mean_lines, run, x, y
from tests.folders import make_run

ROOT = Path(__file__).parents[2]
T_1 = 12.706204736432095  # the 97.5 % point of Student's t with one degree of freedom, which two seeds have


def panels(frame: pd.DataFrame, bins: Bins = every_task) -> list[Axes]:
    axes = list(Figure().subplots(2, 2).ravel())
    assert four_panels(frame, axes, bins) is axes
    return axes


def test_binned_by_hand() -> None:
    frame = pd.concat([run("bp", 0, [1, 3, 5, math.nan, 9]), run("bp", 1, [3, 5, math.nan, math.nan, 10])])
    bins = style.binned(frame, "accuracy", 2)
    assert bins.index.tolist() == [1.5, 3.5, 5.0]  # the middle of tasks 1-2, 3-4, and of task 5 alone
    assert bins["mean"].tolist() == [3.0, 5.0, 9.5]
    assert bins["n"].tolist() == [2, 1, 2]
    half = np.array([1.0, math.nan, 0.5]) * T_1  # |a - b| / 2 for two seeds
    np.testing.assert_allclose(bins["low"], bins["mean"] - half)
    np.testing.assert_allclose(bins["high"], bins["mean"] + half)
    assert style.binned(frame, "effective_rank", 2).empty
    assert style.binned(frame, "no_such_metric", 2).empty


def test_plotted_numbers() -> None:
    frame = pd.concat([run("cbp", 0, [80.0, 82.0]), run("cbp", 1, [84.0, 88.0]), run("bp", 0, [70.0, 60.0])])
    accuracy, dead, weight, rank = panels(frame)
    lines = mean_lines(accuracy)
    assert list(lines) == ["BP", "CBP"]
    assert x(lines["CBP"]) == [1, 2]
    assert y(lines["CBP"]) == [82.0, 85.0]
    assert y(lines["BP"]) == [70.0, 60.0]
    assert [to_hex(line.get_color()).upper() for line in lines.values()] == [style.COLOURS["bp"], style.COLOURS["cbp"]]
    (band,) = bands(accuracy)  # BP has one seed, so no band
    edges = {tuple(point) for point in np.asarray(band.get_paths()[0].vertices).tolist()}
    heights = {task: sorted(height for x, height in edges if x == task) for task in (1.0, 2.0)}
    assert heights[1.0] == pytest.approx([82 - 2 * T_1, 82 + 2 * T_1])
    assert heights[2.0] == pytest.approx([85 - 3 * T_1, 85 + 3 * T_1])
    assert accuracy.get_ylim()[0] > 50  # of two seeds it is far wider than the lines, which set the height
    assert accuracy.get_ylim()[1] < 100
    single = sorted(tuple(y(line)) for line in accuracy.lines if line.get_label() == "_run")
    assert single == [(70.0, 60.0), (80.0, 82.0), (84.0, 88.0)]
    assert y(mean_lines(dead)["CBP"]) == [1.5, 2.5]
    assert y(mean_lines(weight)["CBP"]) == [0.05, 0.05]
    assert y(mean_lines(rank)["CBP"]) == []  # never measured
    assert [ax.get_ylabel() for ax in (accuracy, dead, weight, rank)] == list(LABELS.values())
    assert dead.get_ylim()[0] == 0


def test_incomplete_runs_are_drawn_over_common_tasks_and_marked() -> None:
    frame = pd.concat([run("cbp", 0, [80.0, 82.0, 84.0]), run("cbp", 1, [84.0, 88.0], "incomplete")])
    accuracy = panels(frame)[0]
    line = mean_lines(accuracy)["CBP (incomplete)"]
    assert x(line) == [1, 2]
    assert y(line) == [82.0, 85.0]
    assert all(len(x(line)) == 2 for line in accuracy.lines)


def test_diverged_runs_are_no_part_of_the_mean() -> None:
    frame = pd.concat([run("bp", 0, [80.0, 82.0, 84.0]), run("bp", 1, [10.0, math.nan], "diverged")])
    accuracy = panels(frame)[0]
    assert y(mean_lines(accuracy)["BP (1 of 2 diverged)"]) == [80.0, 82.0, 84.0]
    assert any(y(line)[0] == 10.0 for line in accuracy.lines)
    nothing = run("bp", 1, [math.nan], "diverged").assign(task=0)
    assert y(mean_lines(panels(nothing)[0])["BP (1 of 1 diverged)"]) == []
    figure(nothing)


def test_settings_of_one_learner_are_shades_of_its_colour() -> None:
    frame = pd.concat([run("bp", 0, [1.0], config={"learner.step_size": size}) for size in (0.01, 0.003, 0.001)])
    frame = pd.concat([frame, run("cbp", 0, [1.0], config={"learner.step_size": 0.01})])
    curves = style.curves(frame)
    assert [curve.label for curve in curves] == [
        "BP, step size 0.001",
        "BP, step size 0.003",
        "BP, step size 0.01",
        "CBP",
    ]
    brightness = [sum(curve.colour) for curve in curves[:3]]
    assert brightness[1] - brightness[0] > 0.5
    assert brightness[2] - brightness[1] > 0.5
    assert to_hex(curves[1].colour).upper() == style.COLOURS["bp"]


@pytest.mark.parametrize("learner", style.COLOURS)
@pytest.mark.parametrize("variants", [2, 3, 5])
def test_shades_can_be_told_apart(learner: str, variants: int) -> None:
    shades = [np.array(style.shade(style.COLOURS[learner], i, variants)) for i in range(variants)]
    assert all(np.abs(later - earlier).max() > 0.1 for earlier, later in pairwise(shades))


def test_every_method_has_its_own_colour_and_label() -> None:
    assert style.COLOURS.keys() == style.LABELS.keys()
    assert len({*style.COLOURS.values(), *style.SPARE_COLOURS}) == len(style.COLOURS) + len(style.SPARE_COLOURS)
    assert len(set(style.LABELS.values())) == len(style.LABELS)
    assert style.colour("mine") in style.SPARE_COLOURS


def test_caption() -> None:
    config: Config = {"scale": "laptop", "network.width": 100, "data.tasks": 80, "data.task_length": 5000}
    frame = pd.concat([run(name, seed, [80.0] * 80, config=config) for name in ("bp", "cbp") for seed in (0, 1)])
    frame["data_description"] = "5,000 MNIST images"
    frame["classes"] = 10
    frame.loc[(frame["learner.name"] == "bp") & (frame["seed"] == 1), "accuracy"] = 12.0
    missing = [Missing("bp", "bp, learner.step_size=0.01", seed) for seed in (3, 4)]
    sources = [Evidence("demo", frame, missing), Evidence("other", problem="no runs in other")]
    assert caption(sources, FEW, "thin lines: each seed").splitlines() == [
        "Mean and 95 % t interval over seeds; thin lines: each seed.",
        "demo: 2 seeds, 5,000 MNIST images, scale laptop: smaller than published, width 100, 80 tasks, "
        "5,000 examples a task. Bins of 2 tasks. "
        "At chance in the last tenth, and part of the mean: BP: 1 of 2 collapsed. "
        "Missing: 2 runs (bp, learner.step_size=0.01: seeds 3, 4).",
        "other: no runs.",
    ]
    fewer = frame[(frame["learner.name"] == "cbp") | (frame["seed"] == 0)]
    assert about(fewer).startswith("1 seed (2 for CBP), ")
    published = frame.assign(**{"data.source": "mnist", "data.tasks": 800, "data.task_length": 60_000})
    assert "published size" in about(published)
    assert "smaller" not in about(published)
    for other in ({"data.tasks": 8}, {"network.width": 50}, {"data.source": "embedded"}):
        assert "smaller than published" in about(published.assign(**other))


@pytest.mark.parametrize(
    ("bins", "sizes"),
    [
        (FEW, {40: 1, 41: 2, 250: 7}),
        (FINE, {1: 1, 100: 1, 101: 2, 400: 4, 800: 8}),
        (as_published, {10: 1, 150: 10, 300: 20, 749: 50, 750: 50, 1000: 50, 5000: 50}),
    ],
)
def test_the_size_of_a_bin(bins: Bins, sizes: dict[int, int]) -> None:
    assert {tasks: bins(tasks) for tasks in sizes} == sizes


def test_bins_are_of_the_tasks_that_a_finished_run_has() -> None:
    unfinished = run("bp", 0, [80.0] * 9, "incomplete", {"data.tasks": 400})
    other = run("bp", 0, [80.0] * 150, config={"data.tasks": 150})
    frame = pd.concat([unfinished, other])
    assert points(frame, FINE) == "Bins of 2 / 4 tasks"
    assert points(frame, every_task) == "A point a task"
    assert points(unfinished.drop(columns="data.tasks"), as_published) == "A point a task"


@pytest.mark.parametrize("sizes", [(0.003,), (0.001, 0.003, 0.01)])
def test_nothing_overlaps_or_leaves_the_figure(sizes: tuple[float, ...]) -> None:
    runs = [run(name, 0, [80.0] * 9, "incomplete", {"learner.step_size": s}) for name in style.COLOURS for s in sizes]
    drawn = frame_with_words(figure(pd.concat(runs)), "A title", "5,000 MNIST images " * 30)
    drawn.draw_without_rendering()
    whole = drawn.bbox
    legend = drawn.legends[0].get_window_extent()
    words = drawn._supxlabel.get_window_extent()  # type: ignore[attr-defined]
    boxes = [ax.get_tightbbox() for ax in drawn.axes]
    assert all(box is not None and not box.overlaps(legend) and not box.overlaps(words) for box in boxes)
    assert legend.x0 >= whole.x0
    assert legend.x1 <= whole.x1
    assert legend.y1 <= whole.y1
    assert words.x1 <= whole.x1


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for learner in ("bp", "cbp"):
        for seed in (0, 1):
            rows = [
                {"task": task, "accuracy": 80.0, "dead_units": 1.0, "weight_magnitude": 0.1, "effective_rank": 50.0}
                for task in (1, 2, 3)
            ]
            config = {"experiment": "demo", "learner": {"name": learner}, "seed": seed}
            make_run(tmp_path / "demo", config, [{**row, "accuracy": 80.0 + seed} for row in rows])
    return tmp_path


def test_draw_twice_gives_the_same_bytes(results: Path) -> None:
    text, paths = draw("demo", results)
    assert [path.name for path in paths] == ["demo.png", "demo.pdf"]
    assert text == f"demo: {paths[0]}, .pdf"
    before = [path.read_bytes() for path in paths]
    assert before[0].startswith(b"\x89PNG")
    draw("demo", results)
    assert [path.read_bytes() for path in paths] == before


def test_main_prints_the_table_and_where_the_figure_is(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--results-dir", str(results)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("learner")
    assert "80.50 ± 0.50" in printed[1]
    assert printed[-1] == f"demo: {results / 'figures' / 'demo.png'}, .pdf"


@pytest.mark.parametrize("name", ["nothing", *(name for name, entry in FIGURES.items() if entry.experiments)])
def test_what_cannot_be_drawn_is_a_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--results-dir", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    if name == "nothing":
        assert lines == [f"unknown figure nothing; there are: {', '.join(FIGURES)}"]
    else:
        for experiment, line in zip(FIGURES[name].experiments + FIGURES[name].published, lines, strict=True):
            command = f"-m experiment={experiment}"
            if experiment.startswith("tuning/"):
                tuning, learners = experiment.partition("/")[2], "bp,linear,l2,snp,dropout,onlinenorm,adam,cbp"
                command = f"tune -m tuning={tuning} learner={learners}"
            command = f"python -m cbp_experiments {command} results_dir={tmp_path}"
            assert line == f"no runs in {tmp_path / experiment}; make them with: {command}"
    assert list(tmp_path.iterdir()) == []


def test_all_that_can_be_drawn_is_drawn(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "demo").rename(results / "methods")
    (results / "permuted_mnist").mkdir()
    (results / "methods").rename(results / "permuted_mnist" / "methods")
    assert main(["--results-dir", str(results)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["fig2a", "fig4", "fig5", "fig6"]
    for line in lines[1:]:
        assert "; at the published settings; no runs in " in line
        assert line.count("make them with: ") == 2  # the tuned runs, at two sizes
    others = [entry for name, entry in PAPER.items() if name not in ("fig4", "fig5", "fig6")]
    experiments = {experiment for entry in others for experiment in entry.experiments + entry.published}
    assert printed.err.count("no runs in ") == len(printed.err.splitlines()) == len(experiments)


def test_tuned_runs_go_before_those_at_the_published_settings(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "permuted_mnist").mkdir()
    for name in ("methods", "tuned"):
        shutil.copytree(results / "demo", results / "permuted_mnist" / name)
    assert main(["fig4", "--results-dir", str(results)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert "published settings" not in line
    assert f"; no runs in {results / 'permuted_mnist' / 'tuned_published_size'}; " in line
    load = loader(results)
    assert shown(FIGURES["fig4"], load) is FIGURES["fig4"]
    drawn = picture(FIGURES["fig4"], sources_of(FIGURES["fig4"], load))
    assert drawn.get_suptitle() == "All methods on Online Permuted MNIST, tuned on seeds 1000 to 1002"
    assert len(drawn.axes) == 1
    published = shown(FIGURES["fig4"], lambda name: load(name.replace("tuned", "nothing")))
    assert published == FIGURES["fig4"].at_published


def test_no_runs_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results-dir", str(tmp_path)]) == 2
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"fig2a.png", "fig2a.pdf"}


def test_the_script(results: Path) -> None:
    def script(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(ROOT / "scripts" / "figures.py"), *arguments]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)

    done = script("demo", "--results-dir", str(results))
    assert (done.returncode, done.stderr) == (0, "")
    failed = script("fig99", "--results-dir", str(results))
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == f"unknown figure fig99; there are: {', '.join(FIGURES)}\n"


def test_results_and_figures_do_without_torch() -> None:
    code = "import sys, cbp_experiments.figures.draw; print({'torch', 'hydra', 'omegaconf'} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "set()"
