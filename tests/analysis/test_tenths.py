"""Tenths and their table, against numbers computed by hand."""

import math
from typing import Any

import pandas as pd
import pytest

from cbp_experiments.analysis.tenths import scores_of_runs, settings, table, tenths

Config = dict[str, Any]


def run(
    learner: str, seed: int, accuracy: list[float], status: str = "complete", config: Config | None = None
) -> pd.DataFrame:
    """The rows of one run, as load_experiment returns them; dead units, weights and rank follow from the task."""
    config = config or {}
    tasks = range(1, len(accuracy) + 1)
    name = "_".join(map(str, [learner, *config.values(), f"seed{seed}"]))
    facts = {
        "run": name,
        "status": status,
        "seed": seed,
        "learner.name": learner,
        **config,
    }
    metrics = {
        "task": tasks,
        "accuracy": accuracy,
        "dead_units": [float(task + seed) for task in tasks],
        "weight_magnitude": 0.125,
        "effective_rank": [50.0 if task % 2 == 0 else math.nan for task in tasks],
    }
    return pd.DataFrame(metrics).assign(**facts)


def test_tenths_by_hand() -> None:
    # 20 tasks: a tenth is two of them.
    first = run("bp", 0, [90.0, 88.0, *[0.0] * 16, 70.0, 72.0])
    second = run("bp", 4, [86.0, 84.0, *[0.0] * 16, 66.0, 60.0])
    means = tenths(pd.concat([first, second]))
    assert len(means) == 1
    row = means.iloc[0]
    assert row["learner.name"] == "bp"
    assert row["seeds"] == 2
    assert row["score_first"] == (89 + 85) / 2
    assert row["score_first_se"] == pytest.approx(2)  # deviation 4 / sqrt(2), over sqrt(2) seeds
    assert row["score_last"] == (71 + 63) / 2
    assert row["score_last_se"] == pytest.approx(4)
    assert row["dead_units"] == (19.5 + 23.5) / 2
    assert row["dead_units_se"] == pytest.approx(2)
    assert row["weight_magnitude"] == 0.125
    assert row["weight_magnitude_se"] == 0
    assert row["effective_rank"] == 50  # the empty cell of task 19 is left out


@pytest.mark.parametrize(("tasks", "first", "last"), [(1, 1, 1), (9, 1, 9), (10, 1, 10), (29, 1.5, 28.5)])
def test_the_size_of_a_tenth(tasks: int, first: float, last: float) -> None:
    row = tenths(run("bp", 0, [float(task) for task in range(1, tasks + 1)])).iloc[0]
    assert (row["score_first"], row["score_last"]) == (first, last)
    assert math.isnan(row["score_first_se"])  # one seed


def test_settings_are_what_differs_within_a_learner() -> None:
    runs = [
        run("bp", 0, [1.0], config={"learner.step_size": 0.01, "scale": "smoke"}),
        run("cbp", 0, [2.0], config={"learner.step_size": 0.003, "scale": "smoke", "learner.rate": 1e-5}),
        run("cbp", 0, [3.0], config={"learner.step_size": 0.003, "scale": "smoke", "learner.rate": 1e-4}),
    ]
    assert settings(pd.concat(runs[:2])) == ["learner.name"]
    frame = pd.concat(runs)
    assert settings(frame) == ["learner.name", "learner.rate"]
    assert tenths(frame)["score_last"].tolist() == [1.0, 2.0, 3.0]
    assert tenths(frame)["seeds"].tolist() == [1, 1, 1]
    lines = table(frame).splitlines()
    assert lines[0].split()[:3] == ["learner", "rate", "seeds"]
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["bp", "-", "1"],
        ["cbp", "1e-05", "1"],
        ["cbp", "0.0001", "1"],
    ]


def test_only_complete_runs_count_and_the_others_are_named() -> None:
    runs = [
        run("bp", 0, [80.0] * 10),
        run("bp", 1, [10.0] * 4, "incomplete"),
        run("cbp", 2, [20.0] * 7, "diverged"),
    ]
    frame = pd.concat(runs)
    means = tenths(frame)
    assert means["learner.name"].tolist() == ["bp"]
    assert means["score_last"].tolist() == [80.0]
    text = table(frame)
    assert text.splitlines()[-2:] == [
        "left out, diverged: cbp_seed2 (at task 7)",
        "left out, incomplete: bp_seed1 (at task 4)",
    ]
    assert tenths(pd.concat(runs[1:])).empty
    assert "left out" in table(pd.concat(runs[1:]))


def test_table_text() -> None:
    frame = pd.concat([run("bp", 0, [90.0, 70.0]), run("bp", 2, [86.0, 66.0]), run("linear", 0, [50.0, 50.0])])
    frame.loc[frame["learner.name"] == "linear", ["dead_units", "effective_rank"]] = math.nan
    assert table(frame).splitlines() == [
        "learner  seeds  accuracy % at first  accuracy % at last  dead units %    mean |weight|  effective rank %",
        "bp           2         88.00 ± 2.00        68.00 ± 2.00   3.00 ± 1.00  0.1250 ± 0.0000      50.00 ± 0.00",
        "linear       1                50.00               50.00             -           0.1250                 -",
        "mean ± standard error over seeds; at first: first tenth of the tasks; all else: last tenth",
    ]
    assert "-" in table(frame.drop(columns=["dead_units"]))


def test_collapsed_runs_are_named_and_stay_in_the_means() -> None:
    # A tenth is two tasks: their mean counts, at two classes up to 52 %.
    accuracy = {0: [51.0, 53.0], 1: [51.0, 53.2], 2: [50.0, 50.0]}
    runs = [run("bp", seed, [90.0] * 18 + end) for seed, end in accuracy.items()]
    frame = pd.concat([*runs, run("cbp", 0, [80.0] * 20)]).assign(classes=2)
    assert table(frame).splitlines()[-1] == (
        "collapsed (at chance in the last tenth; part of the means): 2 of 3 runs of bp (seeds 0, 2)"
    )
    means = tenths(frame)
    assert means["seeds"].tolist() == [3, 1]
    assert means["score_last"].tolist() == pytest.approx([(52 + 52.1 + 50) / 3, 80.0])
    assert scores_of_runs(frame)["collapsed"].tolist() == [True, False, True, False]
    for unknown in (frame.assign(classes=None), frame.assign(classes=0), frame.drop(columns="classes")):
        assert "collapsed" not in table(unknown)
    assert "collapsed" not in table(frame[frame["seed"] == 1])
    sizes = pd.concat([run("bp", 0, [50.0], config={"learner.step_size": size}) for size in (0.1, 0.2)])
    assert "1 of 1 runs of bp, step_size=0.1 (seed 0); 1 of 1" in table(sizes.assign(classes=2))
    assert scores_of_runs(frame.assign(status="incomplete")).empty
