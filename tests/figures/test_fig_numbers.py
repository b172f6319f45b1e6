"""The paper's figures: the numbers that each of them plots, from frames made by hand."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from cbp_experiments.figures import fig2a as picture
from cbp_experiments.figures.draw import FIGURES, PAPER
from cbp_experiments.figures.fig1 import fig1
from cbp_experiments.figures.fig2a import fig2a
from cbp_experiments.figures.fig2b import fig2b
from cbp_experiments.figures.fig3 import fig3
from cbp_experiments.figures.fig4 import fig4
from cbp_experiments.figures.fig5 import fig5
from cbp_experiments.figures.fig6 import fig6
from cbp_experiments.figures.fig7 import fig7
from cbp_experiments.figures.fig8 import LEARNERS, fig8
from cbp_experiments.figures.style import colour
from cbp_experiments.sources import Source
from cbp_experiments.streams.permuted_mnist import PermutedMNIST
from tests.figures.frames import mean_lines, run, x, y

BIN_100 = {"fig2b", "fig3", "fig4", "fig5", "fig6", "fig8"}  # a line has at most 100 points


def axes(count: int) -> list[Axes]:
    return list(np.ravel(Figure().subplots(1, count)))


def pair(learner: str, start: float, config: dict[str, object] | None = None, tasks: int = 3) -> pd.DataFrame:
    """Two seeds around the accuracies start, start + 1, ... of the tasks."""
    accuracy = start + np.arange(tasks, dtype=float)
    return pd.concat([run(learner, seed, list(accuracy + 2 * seed - 1), config=config) for seed in (0, 1)])


def test_figure_1_is_ten_tasks_and_bins_of_all() -> None:
    frame = pd.concat([pair("bp", 0, {"learner.step_size": size}, 1000) for size in (0.01, 0.001)])
    left, right = fig1(frame, axes(2))
    assert list(mean_lines(left)) == list(mean_lines(right)) == ["BP, step size 0.001", "BP, step size 0.01"]
    line = mean_lines(left)["BP, step size 0.01"]
    assert (x(line), y(line)) == ([*range(1, 11)], [*range(10)])
    line = mean_lines(right)["BP, step size 0.01"]
    assert x(line) == [25.5 + 50 * i for i in range(20)]
    assert y(line) == [24.5 + 50 * i for i in range(20)]
    assert [sum(line.get_label() == "_run" for line in ax.lines) for ax in (left, right)] == [4, 4]
    shorter = mean_lines(fig1(pair("bp", 0, tasks=300), axes(2))[1])["BP"]
    assert x(shorter) == [10.5 + 20 * i for i in range(15)]


def test_figure_2a_shows_the_permutations_of_the_stream() -> None:
    stream = PermutedMNIST(tasks=3, task_length=1).load()
    shown = [np.asarray(ax.images[0].get_array()).ravel() for ax in fig2a(axes(4))]
    digit = stream.images[stream.labels == picture.DIGIT][0]
    assert (shown[0] == digit).all()
    for task in range(3):
        permutation = stream.task(picture.SEED, task).permutation
        assert permutation is not None
        assert (picture.permutation(task) == permutation).all()
        assert (shown[1 + task] == digit[permutation]).all()


def test_figure_2b_has_a_panel_for_each_variation() -> None:
    step_sizes = pd.concat([pair("bp", 60, {"learner.step_size": size}) for size in (0.01, 0.003)])
    rates = [
        pair("bp", 70, {"data.tasks": tasks, "data.task_length": length}, tasks)
        for tasks, length in ((4, 500_000), (2, 1_000_000))
    ]
    size = {"learner.step_size": 0.01, "data.source": "mnist", "data.tasks": 800, "data.task_length": 60_000}
    size |= {"network.width": 100}
    panels = fig2b((step_sizes, None, pd.concat(rates), pair("bp", 90, size)), axes(4))
    lines = [mean_lines(ax) for ax in panels]
    assert [list(found) for found in lines] == [["0.003", "0.01"], [], ["500,000", "1,000,000"], ["0.01"]]
    assert y(lines[0]["0.01"]) == [60, 61, 62]
    assert x(lines[2]["500,000"]) == [500_000, 1_000_000, 1_500_000, 2_000_000]
    assert x(lines[2]["1,000,000"]) == [1_000_000, 2_000_000]
    assert y(lines[2]["1,000,000"]) == [70, 71]
    assert "no runs" in [text.get_text() for text in panels[1].texts]
    titles = [legend.get_title().get_text() for ax in panels if (legend := ax.get_legend())]
    assert titles == ["Step size", "A new permutation every ... examples", "Step size, published size"]
    smaller = fig2b((None, None, None, pair("bp", 90, {**size, "data.tasks": 3})), axes(4))
    legend = smaller[3].get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "Step size, not the published size"


def test_figures_3_and_5_skip_the_tasks_without_a_rank() -> None:
    frame = pd.concat([pair("bp", 60), pair("cbp", 80)])
    frame["effective_rank"] = np.where(frame["task"] % 2 == 1, 40.0 - frame["task"], np.nan)
    for draw in (fig3, fig5):
        dead, weight, rank = draw(frame, axes(3))
        assert y(mean_lines(dead)["CBP"]) == [1.5, 2.5, 3.5]
        np.testing.assert_allclose(y(mean_lines(weight)["CBP"]), 0.05)
        assert (x(mean_lines(rank)["CBP"]), y(mean_lines(rank)["CBP"])) == ([1, 3], [39, 37])


def test_figures_4_6_and_7_are_means_over_seeds() -> None:
    frame = pd.concat([pair("bp", 60, tasks=200), pair("cbp", 80, tasks=200)])
    in_twos = [*np.arange(80.5, 280.0, 2.0)]
    panels = fig6(frame, axes(4))
    for ax in (fig4(frame, axes(1)[0]), panels[0]):
        line = mean_lines(ax)["CBP"]
        assert (x(line), y(line)) == ([*np.arange(1.5, 200.0, 2.0)], in_twos)
        assert sum(line.get_label() == "_run" for line in ax.lines) == 4
    assert y(mean_lines(panels[1])["CBP"]) == [*np.arange(2.0, 202.0, 2.0)]
    line = mean_lines(fig7(frame, axes(1)[0]))["CBP"]
    assert (x(line)[:2], y(line)[:2]) == ([7.5, 21.5], [86.5, 100.5])


def test_the_ends_of_figures_4_6_and_7_are_paired_with_cbp() -> None:
    # At the end CBP is at 80, 82, 84; L2 is 1, 2 and 6 below it, BP has one seed in common, and Adam has none finished.
    runs = [("cbp", (80, 82, 84)), ("l2", (79, 80, 78)), ("bp", (70,))]
    frame = pd.concat([run(name, seed, [80.0] * 9 + [end]) for name, ends in runs for seed, end in enumerate(ends)])
    frame = pd.concat([frame, run("adam", 0, [80.0] * 9, "incomplete")])
    half = 4.302652729911275 * (7 / 3) ** 0.5
    for ax in (fig4(frame, axes(1)[0]), fig6(frame, axes(4))[0], fig7(frame, axes(1)[0])):
        dots = {to_hex(line.get_color()): line for line in ax.lines if line.get_marker() == "o"}
        assert {name: y(dots[colour(name).lower()]) for name, _ in runs} == {"cbp": [82.0], "l2": [79.0], "bp": [70.0]}
        assert len(dots) == 3
        assert all(x(dot)[0] > 10 for dot in dots.values())
        (bar,) = [bars for bars in ax.collections if isinstance(bars, LineCollection)]
        (ends,) = bar.get_segments()
        assert ends[:, 1].tolist() == pytest.approx([79 - half, 79 + half])
        assert np.asarray(bar.get_edgecolor())[0].tolist() == pytest.approx(to_rgba(colour("l2")))
        (dotted,) = [line for line in ax.lines if line.get_label() == "_reference"]
        assert y(dotted) == [82.0, 82.0]


def test_without_cbp_the_first_learner_is_the_one_to_compare_with() -> None:
    frame = pd.concat([pair("l2", 60), pair("snp", 70)])
    assert "of its difference to L2 (dotted)" in FIGURES["fig4"].caption([Source("methods", frame)])
    (dotted,) = [line for line in fig4(frame, axes(1)[0]).lines if line.get_label() == "_reference"]
    assert y(dotted) == [62.0, 62.0]
    for nothing in (run("bp", 0, [1.0], "incomplete"), run("bp", 0, [np.nan], "diverged").assign(task=0)):
        fig4(nothing, axes(1)[0])
        assert "collapsed" not in FIGURES["fig4"].caption([Source("methods", nothing)])


def test_the_names_beside_the_lines_keep_their_order_and_apart() -> None:
    frame = pd.concat([pair(name, 80 + 0.01 * i) for i, name in enumerate(["cbp", "bp", "l2", "adam", "snp"])])
    ax = fig4(frame, axes(1)[0])
    names = sorted(ax.texts, key=lambda text: text.get_position()[1])
    assert [text.get_text() for text in names] == ["CBP", "BP", "L2", "Adam", "SnP"]
    low, high = ax.get_ylim()
    gaps = np.diff([text.get_position()[1] for text in names])
    assert (gaps > 0.03 * (high - low)).all()


def test_figure_8_is_a_panel_a_learner_and_the_ends_of_all() -> None:
    rates = pd.concat([pair("cbp", 60, {"learner.replacement_rate": rate}, 20) for rate in (1e-4, 1e-5)])
    frame = pd.concat([rates, pair("bp", 50, {"learner.step_size": 0.01}, 20)])
    *panels, last = fig8(frame, axes(8))
    shown = {learner: mean_lines(ax) for learner, ax in zip(LEARNERS, panels, strict=True)}
    assert list(shown["cbp"]) == ["1e-05", "0.0001"]
    assert y(shown["cbp"]["0.0001"]) == [*np.arange(60.0, 80.0)]
    assert list(shown["bp"]) == ["BP"]
    assert shown["adam"] == {}
    assert panels[LEARNERS.index("adam")].get_title("left") == "Adam: no runs"
    assert {name: y(line) for name, line in mean_lines(last).items()} == {
        "BP": [68.5],
        "CBP, replacement rate 1e-05": [78.5],
        "CBP, replacement rate 0.0001": [78.5],
    }
    intervals = [y(line) for line in last.lines if len(x(line)) == 2]
    half = 12.706204736432095  # of two seeds, at ±1
    assert intervals == [pytest.approx([mean - half, mean + half]) for mean in (68.5, 78.5, 78.5)]


def test_every_figure_of_the_paper_has_a_title_and_says_what_a_point_is() -> None:
    assert list(PAPER) == ["fig1", "fig2a", "fig2b", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8"]
    assert all(entry.title for entry in FIGURES.values())
    source = Source("methods", pair("cbp", 0, {"data.tasks": 5000}))
    captions = {name: entry.caption([source]) for name, entry in FIGURES.items() if entry.experiments}
    assert {name for name, text in captions.items() if "Bins of 50 tasks" in text} == {"fig1", *BIN_100, "fig7"}
    assert "Bins of 125 tasks" in captions["demo"]
    assert {name for name, text in captions.items() if "thin lines: each seed" in text} == {
        *("demo", "fig1", "fig2b", "fig4", "fig6", "fig7")
    }
    assert {name for name, text in captions.items() if "difference to CBP" in text} == {"fig4", "fig6", "fig7"}
    source = Source("methods", pair("cbp", 0, {"data.tasks": 300}))
    captions = {name: entry.caption([source]) for name, entry in FIGURES.items() if entry.experiments}
    assert {name for name, text in captions.items() if "Bins of 20 tasks" in text} == {"fig1", "fig7"}
    assert {name for name, text in captions.items() if "Bins of 3 tasks" in text} == BIN_100
