"""What follows the score of an experiment: tables, comparisons, the choice of a tuning, a figure's first panel."""

from pathlib import Path

import pandas as pd
import pytest

from cbp_experiments.analysis.comparisons import comparisons, comparisons_text
from cbp_experiments.analysis.summaries import main, scores
from cbp_experiments.analysis.summaries import table as summary_table
from cbp_experiments.analysis.tenths import scores_of_runs, table
from cbp_experiments.analysis.tuning import select
from cbp_experiments.figures import four_panels
from cbp_experiments.results.tuned import CHOICE, Choice, read_choice, read_settings, write_choice, write_settings
from cbp_experiments.scores import ACCURACY, SQUARED_ERROR, score_of
from tests.figures.frames import ending, y
from tests.folders import make_run


def errors(learner: str, *ends: float) -> pd.DataFrame:
    return ending(learner, *ends).rename(columns={"accuracy": "squared_error"})


def test_the_score_is_told_by_its_column() -> None:
    assert score_of(["task", "squared_error", "loss"]) is SQUARED_ERROR
    assert score_of(["task", "accuracy", "loss"]) is ACCURACY
    assert score_of(["task", "examples"]) is ACCURACY  # a run that diverged in its first task


def test_tables_of_errors() -> None:
    frame = errors("bp", 0.5, 0.75)
    title, row, *_ = table(frame).splitlines()
    assert "squared error at first  squared error at last" in title
    assert row.split()[:5] == ["bp", "2", "0.6250", "±", "0.1250"]
    assert "accuracy" not in table(frame)
    title, row, legend = summary_table(frame).splitlines()
    assert title.split() == ["learner", "seeds", "average", "final"]
    assert row.split()[2] == "0.6250"
    assert legend.startswith("squared error over all tasks and over the last tenth")
    assert not scores_of_runs(frame)["collapsed"].any()  # there is no chance
    assert scores(frame)["final"].tolist() == [0.625]


def test_the_smallest_error_is_the_best() -> None:
    rows = comparisons(pd.concat([errors("bp", 0.5, 0.7), errors("l2", 0.4, 0.5)]))
    assert rows["reference"].unique().tolist() == ["l2"]
    assert rows["difference"].tolist() == pytest.approx([-0.15, -0.15])
    assert "\nsquared error; in brackets: " in comparisons_text(rows, SQUARED_ERROR)


def tried(*errors_of_settings: tuple[float, float]) -> list[dict[str, object]]:
    facts = {"last_tenth": "0.1", "tasks": 5, "numbers": 2}
    return [
        {"run": f"l2_{place}_seed{seed}", "learner.weight_decay": 10.0**-place, "seed": seed, "status": "complete"}
        | {"squared_error": error, **facts}
        for place, errors_of_seeds in enumerate(errors_of_settings)
        for seed, error in enumerate(errors_of_seeds, start=1000)
    ]


def test_a_tuning_chooses_the_smallest_error(tmp_path: Path) -> None:
    rows = tried((0.5, 0.7), (0.2, 0.3), (0.4, 0.4))
    found = select(pd.DataFrame(rows))
    assert found is not None
    assert found.lead is not None
    assert (found.values, found.score) == ({"learner.weight_decay": 0.1}, 0.25)
    assert found.lead.mean == pytest.approx(0.15)  # it is better by so much than the second
    assert found.second == {"learner.weight_decay": 0.01}
    write_settings(tmp_path, rows)
    assert list(read_settings(tmp_path)[0])[2:5] == ["seed", "status", "squared_error"]
    choice = Choice("l2", found.values, [1000, 1001], 5, 3, 0.25, "squared_error")
    write_choice(tmp_path, choice)
    assert "\nsquared_error: 0.25\n" in (tmp_path / CHOICE).read_text()
    assert read_choice(tmp_path) == choice


def test_the_summary_of_errors_is_called_after_them(tmp_path: Path) -> None:
    for seed, error in enumerate((0.5, 0.6)):
        config = {"experiment": "sums", "scale": "smoke", "seed": seed, "learner": {"name": "bp"}}
        make_run(tmp_path / "sums", config, [{"task": 1, "examples": 10, "squared_error": error}], {"classes": 1})
    assert main(["sums", "--results-dir", str(tmp_path)]) == 0
    written = {path.name for path in (tmp_path / "sums").glob("*.csv")}
    assert written == {"summary.csv", "squared_errors.csv"}
    assert pd.read_csv(tmp_path / "sums" / "summary.csv")["metric"].tolist() == ["squared_error"]


def test_the_first_panel_shows_the_score() -> None:
    figure = four_panels.figure(errors("bp", 0.5, 0.75))
    assert figure.axes[0].get_ylabel() == "Squared error"
    assert y(figure.axes[0].lines[-1])[0] == 0.625
