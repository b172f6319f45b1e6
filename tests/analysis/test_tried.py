"""What a tuning has tried, as the figures read it: one frame of all learners' tables, and the axis of each."""

from pathlib import Path
from typing import Any

import pandas as pd

from cbp_experiments.analysis.evidence import Missing, load_evidence
from cbp_experiments.analysis.tuning import axis_of
from cbp_experiments.results.tuned import Choice, write_choice, write_settings

STEP, DECAY, NOISE, RATE = (
    f"learner.{key}" for key in ("step_size", "weight_decay", "perturbation_std", "replacement_rate")
)


def write(folder: Path, settings: list[dict[str, float]], *, diverged: int = -1, leave_out: int = -1) -> None:
    """settings.csv with two seeds a setting; of the settings by place, one has diverged and one lacks its last seed."""
    rows: list[dict[str, Any]] = []
    for place, values in enumerate(settings):
        lost = place == diverged
        facts = {"status": "diverged" if lost else "complete", "tasks": 6, "numbers": 1}
        facts |= {"accuracy": "" if lost else 80 + place, "last_tenth": "" if lost else 81 + place}
        seeds = (1000,) if place == leave_out else (1000, 1001)
        rows += [{"run": f"{folder.name}_{place}_seed{seed}", **values, "seed": seed, **facts} for seed in seeds]
    folder.mkdir(parents=True)
    write_settings(folder, rows)


def test_the_tables_of_all_learners_are_one_frame(tmp_path: Path) -> None:
    folder = tmp_path / "tuning" / "mine"
    write(folder / "cbp", [{STEP: 0.01, RATE: 1e-4}, {STEP: 0.003, RATE: 1e-5}], diverged=1)
    write_choice(folder / "cbp", Choice("cbp", {"x": 1, STEP: 0.01, RATE: 1e-4}, [1000, 1001], 6, 2, 80.0))
    write(folder / "l2", [{STEP: 0.01, DECAY: 1e-4}, {STEP: 0.01, DECAY: 1e-3}], leave_out=1)
    source = load_evidence(tmp_path, "paper", "tuning/mine").of(("cbp", "l2", "bp"))
    assert source.is_tuning
    frame = source.frame
    assert frame is not None
    assert frame["learner.name"].tolist() == 4 * ["cbp"] + 3 * ["l2"]
    assert frame["chosen"].tolist() == [True, True] + 5 * [False]
    assert frame["accuracy"].fillna(0).tolist() == [80, 80, 0, 0, 80, 80, 81]
    assert frame["last_tenth"].fillna(0).tolist() == [81, 81, 0, 0, 81, 81, 82]
    assert frame[RATE].fillna(0).tolist() == [1e-4, 1e-4, 1e-5, 1e-5, 0, 0, 0]
    assert frame["seed"].tolist() == [1000, 1001, 1000, 1001, 1000, 1001, 1000]
    assert source.missing == [Missing("l2", f"l2, {DECAY}=0.001", 1001)]
    assert source.absent == ("bp",)
    assert source.remarks == ["nothing is chosen yet for l2"]
    assert len(source.facts) == 7


def test_what_cannot_be_read_of_a_tuning_is_a_line(tmp_path: Path) -> None:
    write(tmp_path / "tuning" / "mine" / "l2", [{STEP: 0.01}])
    path = tmp_path / "tuning" / "mine" / "l2" / "settings.csv"
    path.write_text(path.read_text().replace("80", "many"))
    source = load_evidence(tmp_path, None, "tuning/mine")
    assert source.frame is None
    assert source.problem.startswith(f"{path} is damaged (")
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert load_evidence(tmp_path, None, "tuning/mine").problem.startswith(f"{path} is damaged (no rows)")
    path.write_text("run,seed\n1\n")
    assert "is damaged (a row or a column is cut short)" in load_evidence(tmp_path, None, "tuning/mine").problem


def test_a_value_may_be_a_word(tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [{"learner.utility": "contribution"}, {"learner.utility": "random"}]
    write(tmp_path / "tuning" / "mine" / "cbp", settings)
    frame = load_evidence(tmp_path, None, "tuning/mine").frame
    assert frame is not None
    assert frame["learner.utility"].tolist() == 2 * ["contribution"] + 2 * ["random"]


def test_the_axis_of_a_learner() -> None:
    def axis(**values: list[float]) -> tuple[str, list[str], list[str]]:
        rows = pd.DataFrame({f"learner.{key}": column for key, column in values.items()}).assign(
            **{"run": "x", "seed": 0, "chosen": False, "learner.name": "x"}
        )
        found = axis_of(rows)
        return found.key, found.tied, found.others

    assert axis(step_size=[0.1, 0.2]) == (STEP, [], [])
    assert axis(step_size=[0.1, 0.2, 0.1], weight_decay=[1, 1, 2]) == (DECAY, [], [STEP])
    steps = [0.1, 0.2, 0.1, 0.2]
    assert axis(step_size=steps, weight_decay=[1, 1, 2, 2], perturbation_std=[3, 3, 4, 4]) == (DECAY, [NOISE], [STEP])
    assert axis(step_size=steps, weight_decay=[1, 1, 2, 2], perturbation_std=[3, 4, 3, 4]) == (
        DECAY,
        [],
        [STEP, NOISE],
    )
    assert axis(step_size=[0.1, 0.1]) == (STEP, [], [])
