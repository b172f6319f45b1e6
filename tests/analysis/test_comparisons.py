"""Comparisons of settings within an experiment, against numbers computed by hand."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cbp_experiments.analysis.comparisons import comparisons, comparisons_text
from cbp_experiments.analysis.summaries import main, scores
from cbp_experiments.errors import ConfigError
from tests.figures.frames import run
from tests.folders import make_run


def runs(learner: str, *accuracies: float, tasks: int = 1, config: dict[str, Any] | None = None) -> pd.DataFrame:
    """A run a seed, with the same accuracy in every task."""
    return pd.concat([run(learner, seed, [value] * tasks, config=config) for seed, value in enumerate(accuracies)])


@pytest.fixture
def methods() -> pd.DataFrame:
    """CBP leads BP by 1, 2 and 6 points and L2 by -1, 0 and 1."""
    return pd.concat([runs("bp", 70, 70, 70), runs("cbp", 71, 72, 76), runs("l2", 72, 72, 75)])


def of(rows: pd.DataFrame, learner: str, measure: str = "last tenth") -> Any:
    (row,) = rows[(rows["learner.name"] == learner) & (rows["measure"] == measure)].itertuples()
    return row


def test_cbp_against_each_other(methods: pd.DataFrame) -> None:
    rows = comparisons(methods)
    assert set(rows["reference"]) == {"cbp"}
    assert rows["measure"].tolist() == ["all tasks"] * 2 + ["last tenth"] * 2
    bp, l2 = of(rows, "bp"), of(rows, "l2")
    assert (bp.n, bp.difference, bp.above, bp.below) == (3, 3.0, 3, 0)
    half = 4.302652729911275 * (7 / 3) ** 0.5
    assert (bp.low, bp.high) == pytest.approx((3 - half, 3 + half))
    assert (l2.n, l2.difference, l2.above, l2.below, l2.p) == (3, 0.0, 1, 1, 1.0)
    assert (bp.p_holm, l2.p_holm) == pytest.approx((2 * bp.p, 1.0))


def test_the_last_tenth_and_all_tasks_are_told_apart() -> None:
    frame = pd.concat([run("cbp", seed, [80.0] * 19 + [90.0]) for seed in (0, 1)] + [runs("bp", 80, 80, tasks=20)])
    rows = comparisons(frame)
    assert (of(rows, "bp").difference, of(rows, "bp", "all tasks").difference) == (5.0, 0.5)


def test_without_cbp_the_best_is_the_reference_or_whom_one_names(methods: pd.DataFrame) -> None:
    rows = comparisons(methods[methods["learner.name"] != "cbp"])
    assert set(rows["reference"]) == {"l2"}
    assert of(rows, "bp").difference == 3.0
    named = comparisons(methods, "bp")
    assert set(named["reference"]) == {"bp"}
    assert of(named, "cbp").difference == -3.0
    with pytest.raises(ConfigError, match="no complete runs of snp to compare with; there are: bp, cbp, l2"):
        comparisons(methods, "snp")


def test_the_best_setting_is_compared_with_all_others() -> None:
    rates = [runs("cbp", 80 + i, 82 + i, config={"learner.rate": rate}) for i, rate in enumerate((1e-4, 1e-5))]
    rows = comparisons(pd.concat([runs("bp", 70, 70), *rates]))
    assert rows["reference"].unique().tolist() == ["cbp, rate=1e-05"]
    assert rows["learner.name"].tolist() == ["cbp", "bp"] * 2
    assert rows["of"].unique().tolist() == [2]
    assert of(rows, "cbp").difference == 1.0
    text = comparisons_text(rows).splitlines()
    assert text[0] == "cbp, rate=1e-05 minus each other setting, paired by seed:"
    assert text[-1] == "cbp, rate=1e-05 was chosen from 2 settings by accuracy over all tasks of these seeds"


def test_scales_are_kept_apart() -> None:
    laptop = pd.concat(
        [runs("bp", 70, 71, config={"scale": "laptop"}), runs("cbp", 80, 83, config={"scale": "laptop"})]
    )
    smoke = pd.concat([runs("bp", 50, 50, config={"scale": "smoke"}), runs("cbp", 50, 50, config={"scale": "smoke"})])
    rows = comparisons(pd.concat([laptop, smoke]))
    assert rows[["scale", "difference"]].drop_duplicates().to_numpy().tolist() == [["laptop", 11.0], ["smoke", 0.0]]
    assert comparisons_text(rows).count("minus each other setting") == 2


def test_one_learner_has_nothing_to_be_compared_with() -> None:
    assert comparisons(runs("bp", 70, 71)).empty
    unfinished = pd.concat([run("bp", 0, [70.0]), run("cbp", 0, [70.0], "incomplete")])
    assert comparisons(unfinished).empty
    assert comparisons(unfinished[unfinished["status"] != "complete"]).empty


def test_text(methods: pd.DataFrame) -> None:
    lonely = run("snp", 2, [75.0])
    stranger = run("adam", 9, [60.0])
    lines = comparisons_text(comparisons(pd.concat([methods, lonely, stranger]))).splitlines()
    assert lines[0] == "cbp minus each other setting, paired by seed:"
    assert lines[1].split() == ["learner", "n", "all", "tasks", "above", "p", "last", "tenth", "above", "p"]
    cells = {line.split()[0]: line for line in lines[2:6]}
    assert cells["bp"].count("+3.00 [-3.57, +9.57]  3 of 3  0.38") == 2  # p 0.19, of two tests with an interval
    assert cells["snp"].count("+1.00 (one seed, no interval)  1 of 1     -") == 2
    assert cells["adam"].split() == ["adam", "0", *"------"]
    assert lines[-1] == "p: paired t test, Holm's correction for 2 comparisons"


def test_accuracies_have_t_intervals_and_count_the_collapsed() -> None:
    row = scores(runs("bp", 52.0, 52.1, 80.0).assign(classes=2)).iloc[0]
    assert (row["seeds"], row["collapsed"]) == (3, 1)
    assert row["final"] == pytest.approx((52 + 52.1 + 80) / 3)  # the collapsed one, too
    two = scores(runs("bp", 80, 84)).iloc[0]
    half = 12.706204736432095 * 2
    assert (two["average_low"], two["average_high"]) == pytest.approx((82 - half, 82 + half))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for learner, seed, value in (("bp", 0, 51.0), ("bp", 1, 60.0), ("cbp", 0, 80.0), ("cbp", 1, 81.0)):
        config = {"experiment": "demo", "scale": "smoke", "seed": seed, "learner": {"name": learner}}
        rows = [{"task": 1, "examples": 10, "accuracy": value}]
        make_run(tmp_path / "demo", config, rows, {"classes": 2})
    assert main(["demo", "--results-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "collapsed (at chance in the last tenth; part of the means): 1 of 2 runs of bp (seed 0)" in printed
    assert printed.index("average %") < printed.index("cbp minus each other setting") < printed.index("comparisons.csv")
    written = tmp_path / "demo" / "comparisons.csv"
    assert pd.read_csv(written)["difference"].tolist() == [25.0, 25.0]
    assert main(["demo", "--results-dir", str(tmp_path), "--against", "bp"]) == 0
    assert pd.read_csv(written)["difference"].tolist() == [-25.0, -25.0]
    capsys.readouterr()
    before = written.read_bytes()
    assert main(["demo", "--results-dir", str(tmp_path), "--against", "l2"]) == 2
    assert capsys.readouterr().err == "error: no complete runs of l2 to compare with; there are: bp, cbp\n"
    assert written.read_bytes() == before
    make_run(tmp_path / "demo", {**config, "seed": 2}, rows, {"classes": 2})
    assert main(["demo", "--results-dir", str(tmp_path)]) == 0
    assert "\nmissing: 1 run (bp: seed 2)\n" in capsys.readouterr().out
