"""The paper's figures: the numbers that each of them plots, from frames made by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from cbp_experiments.analysis.evidence import Evidence
from cbp_experiments.figures import fig2a as picture
from cbp_experiments.figures.captions import heading
from cbp_experiments.figures.draw import FIGURES, PAPER, TUNED
from cbp_experiments.figures.fig1 import fig1
from cbp_experiments.figures.fig2a import fig2a
from cbp_experiments.figures.fig2b import fig2b
from cbp_experiments.figures.fig3 import fig3
from cbp_experiments.figures.fig4 import fig4
from cbp_experiments.figures.fig5 import fig5
from cbp_experiments.figures.fig6 import fig6
from cbp_experiments.figures.fig7 import fig7
from cbp_experiments.figures.fig8 import LEARNERS, bounds, fig8, labelled, places, tick
from cbp_experiments.figures.fig8 import figure as figure8
from cbp_experiments.figures.style import colour
from cbp_experiments.streams.permuted_mnist import PermutedMNIST
from tests.figures.frames import mean_lines, run, x, y

TUNINGS = ("fig8", "fig8_published_size")
ROOT = Path(__file__).parents[2]
BIN_100 = {"fig2b", "fig2b_width_2000", "fig3", "fig4", "fig5", "fig6"}  # a line has at most 100 points


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
    assert "of its difference to L2 (dotted)" in FIGURES["fig4"].caption([Evidence("methods", frame)])
    (dotted,) = [line for line in fig4(frame, axes(1)[0]).lines if line.get_label() == "_reference"]
    assert y(dotted) == [62.0, 62.0]
    for nothing in (run("bp", 0, [1.0], "incomplete"), run("bp", 0, [np.nan], "diverged").assign(task=0)):
        fig4(nothing, axes(1)[0])
        assert "collapsed" not in FIGURES["fig4"].caption([Evidence("methods", nothing)])


def test_the_names_beside_the_lines_keep_their_order_and_apart() -> None:
    frame = pd.concat([pair(name, 80 + 0.01 * i) for i, name in enumerate(["cbp", "bp", "l2", "adam", "snp"])])
    ax = fig4(frame, axes(1)[0])
    names = sorted(ax.texts, key=lambda text: text.get_position()[1])
    assert [text.get_text() for text in names] == ["CBP", "BP", "L2", "Adam", "SnP"]
    low, high = ax.get_ylim()
    gaps = np.diff([text.get_position()[1] for text in names])
    assert (gaps > 0.03 * (high - low)).all()


def tried(learner: str, means: dict[tuple[float, float], float], key: str, status: str = "complete") -> pd.DataFrame:
    """Two seeds, a point below and above the mean of each setting, of a step size and a value of `key`."""
    rows = [
        {
            "accuracy": mean + side,
            "tasks": 200,
            "chosen": mean == max(means.values()),
            "run": f"{learner}_{step}_{value}_seed{1000 + seed}",
            "status": status,
            "seed": 1000 + seed,
            "numbers": 1,
            "learner.name": learner,
            "learner.step_size": step,
            key: value,
        }
        for (step, value), mean in means.items()
        for seed, side in ((0, -1.0), (1, 1.0))
    ]
    return pd.DataFrame(rows)


def test_figure_8_is_a_panel_a_learner() -> None:
    l2 = tried("l2", {(s, d): 80 + 1000 * s + d for s in (0.001, 0.01) for d in (1e-4, 1e-3)}, "learner.weight_decay")
    bp = tried("bp", {(s, 0.0): 70 + 100 * s for s in (0.001, 0.01)}, "learner.nothing").drop(columns="learner.nothing")
    panels = dict(zip(LEARNERS, fig8(pd.concat([l2, bp]), axes(8)), strict=True))
    assert panels["adam"].get_title("left") == "Adam: no runs"
    assert panels["bp"].get_title("left") == "BP: step size"
    legend = panels["l2"].get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "L2: weight decay"
    lines = mean_lines(panels["l2"])
    assert {name: y(line) for name, line in lines.items()} == {"1e-3": [81.0001, 81.001], "0.01": [90.0001, 90.001]}
    assert x(lines["0.01"]) == pytest.approx([-4, -3])
    assert [label.get_text() for label in panels["l2"].get_xticklabels()] == ["1e-4", "1e-3"]
    (star,) = [line for line in panels["l2"].lines if line.get_marker() == "*"]
    assert (*x(star), *y(star)) == pytest.approx((-3, 90.001))
    dots = [y(line) for line in panels["l2"].lines if line.get_label() == "_seed"]
    assert [89.0001, 89.001] in dots
    assert len(dots) == 4
    bars = [bar for bar in panels["l2"].collections if isinstance(bar, LineCollection)]
    half = 12.706204736432095  # of two seeds, at ±1
    assert bars[1].get_segments()[0][:, 1].tolist() == pytest.approx([90.0001 - half, 90.0001 + half])
    (line,) = [line for line in panels["bp"].lines if line.get_label() == "_line"]
    assert (*x(line), *y(line)) == pytest.approx((-3, -2, 70.1, 71))
    assert {ax.get_ylim() for ax in panels.values()} == {bounds(pd.concat([l2, bp]))}


def test_settings_far_below_the_others_are_outside_of_figure_8() -> None:
    means = {(0.001, 10.0**-i): mean for i, mean in enumerate([80.0, 81.0, 82.0, 83.0, 20.0], start=2)}
    frame = tried("l2", means, "learner.weight_decay")
    # Quartiles 80 and 82: below 77 is out. The best run has 84, and 6 % of 84 - 80 are less than half a point.
    assert bounds(frame) == (79.5, 84.5)
    ax = fig8(frame, axes(8))[LEARNERS.index("l2")]
    (below,) = [line for line in ax.lines if line.get_label() == "_outside"]
    assert (*x(below), *y(below)) == pytest.approx((-6, 79.65))
    lost = frame.assign(status="diverged", accuracy=np.nan)
    assert bounds(lost) == (0.0, 100.0)
    fig8(lost, axes(8))
    errors = frame.assign(squared_error=100 - frame["accuracy"]).drop(columns="accuracy")  # upside down
    assert bounds(errors) == pytest.approx((15.76, 20.24))
    ax = fig8(errors, axes(8))[LEARNERS.index("l2")]
    (above,) = [line for line in ax.lines if line.get_label() == "_outside"]
    assert above.get_marker() == "^"
    assert (*x(above), *y(above)) == pytest.approx((-6, 20.24 - 0.03 * 4.48))
    drawn = figure8(errors)
    assert drawn.axes[0].get_ylabel() == "Squared error over all tasks"


def test_figure_8_shows_ratios_as_even_steps_and_ties_as_one_axis() -> None:
    assert list(places(pd.Series([0.999, 0.9, 0.99])).values()) == pytest.approx([1, 2, 3])
    assert places(pd.Series([0.1, 0.001])) == pytest.approx({0.001: -3, 0.1: -1})
    assert places(pd.Series([0.0, 0.1, 0.5])) == {0.0: 0, 0.1: 1, 0.5: 2}
    assert places(pd.Series(["b", "a"])) == {"a": 0, "b": 1}
    assert [tick(value) for value in (1e-4, 1.5e-3, 0.01, 0.9999, 3)] == ["1e-4", "0.0015", "0.01", "0.9999", "3"]
    assert labelled([(0.0, "0"), (0.1, "1"), (1.0, "10"), (1.2, "12"), (6.0, "60")]) == [
        (0.0, "0"),
        (1.0, "10"),
        (6.0, "60"),
    ]
    assert labelled([(0.0, "0.999"), (0.5, "0.9999"), (3.0, "1")]) == [(0.0, "0.999"), (3.0, "1")]
    assert labelled([(2.0, "2")]) == [(2.0, "2")]
    means = {(0.01, decay): 80.0 for decay in (1e-4, 1e-3)}
    snp = tried("snp", means, "learner.weight_decay").assign(
        **{"learner.perturbation_std": lambda rows: rows["learner.weight_decay"] / 10}
    )
    assert fig8(snp, axes(8))[LEARNERS.index("snp")].get_title("left") == "SnP: weight decay with noise"


def test_the_caption_of_figure_8_says_what_was_tried() -> None:
    l2 = tried("l2", {(0.01, 1e-4): 80, (0.01, 1e-3): 81}, "learner.weight_decay")
    lost = tried("snp", {(0.01, 1e-4): 80}, "learner.weight_decay", "diverged").assign(accuracy=np.nan)
    text = FIGURES["fig8"].caption([Evidence("tuning/x", pd.concat([l2, lost]))])
    assert text.splitlines()[1] == (
        "tuning/x: 1 / 2 settings a learner, seeds 1000, 1001, 200 tasks. "
        "Diverged, and left out with their settings: 2 runs of SnP."
    )


@pytest.mark.parametrize("name", ["fig4", "fig5", "fig6"])
def test_two_sizes_are_one_below_the_other(name: str) -> None:
    laptop = pair("cbp", 80, {"scale": "laptop", "data.tasks": 3, "data.task_length": 5000, "network.width": 100})
    size = {"scale": "laptop", "data.tasks": 800, "data.task_length": 60_000, "data.source": "mnist"}
    published = pair("cbp", 90, {**size, "network.width": 100})
    both, one = (FIGURES[name].draw(*frames) for frames in ((laptop, published), (None, published)))
    headings = ["Laptop scale: 5,000 images a task", "Published task size: 60,000 images a task, width 100"]
    assert [title for ax in both.axes if (title := ax.get_title("left"))] == headings
    assert [title for ax in one.axes if (title := ax.get_title("left"))] == headings[1:]
    assert len(both.axes) == 2 * len(one.axes)
    assert both.get_figheight() > 1.5 * one.get_figheight()
    names = [text.get_text() for legend in both.legends for text in legend.get_texts()]
    assert names == ([] if name == "fig4" else ["CBP"])


def test_a_heading_says_no_more_than_the_runs() -> None:
    assert heading(pair("cbp", 80)) == ""
    assert heading(pair("cbp", 80, {"scale": "smoke"})) == "Smoke scale"


def test_the_titles_say_which_settings_are_shown() -> None:
    seeds = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text())["tuning_seeds"]
    assert f"tuned on seeds {seeds[0]} to {seeds[-1]}" == TUNED
    assert {name for name, entry in FIGURES.items() if entry.heading.endswith(TUNED)} == {
        "fig4",
        "fig5",
        "fig6",
        "fig7",
    }
    published = FIGURES["fig7"].at_published
    assert published.experiments == ("continual_imagenet/methods",)
    assert published.heading == "Continual backpropagation on Continual ImageNet, at the published settings"


def test_every_figure_of_the_paper_has_a_title_and_says_what_a_point_is() -> None:
    assert list(PAPER) == [
        "fig1",
        "fig2a",
        "fig2b",
        "fig2b_width_2000",
        "fig3",
        "fig4",
        "fig5",
        "fig6",
        "fig7",
        *TUNINGS,
    ]
    assert all(entry.title for entry in FIGURES.values())
    over_tasks = {name: entry for name, entry in FIGURES.items() if entry.experiments and "fig8" not in name}
    source = Evidence("methods", pair("cbp", 0, {"data.tasks": 5000}))
    captions = {name: entry.caption([source]) for name, entry in over_tasks.items()}
    assert {name for name, text in captions.items() if "Bins of 50 tasks" in text} == {"fig1", *BIN_100, "fig7"}
    assert "Bins of 125 tasks" in captions["demo"]
    assert {name for name, text in captions.items() if "thin lines: each seed" in text} == {
        *("demo", "fig1", "fig2b", "fig2b_width_2000", "fig4", "fig6", "fig7")
    }
    assert {name for name, text in captions.items() if "difference to CBP" in text} == {"fig4", "fig6", "fig7"}
    source = Evidence("methods", pair("cbp", 0, {"data.tasks": 300}))
    captions = {name: entry.caption([source]) for name, entry in over_tasks.items()}
    assert {name for name, text in captions.items() if "Bins of 20 tasks" in text} == {"fig1", "fig7"}
    assert {name for name, text in captions.items() if "Bins of 3 tasks" in text} == BIN_100
