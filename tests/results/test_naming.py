"""What names a run: what its settings mean, and not how the code happens to be written."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbp_experiments.figures.draw import PAPER
from cbp_experiments.results.naming import KIND, TARGET, identity_of, run_name
from cbp_experiments.results.older import CLASSES
from cbp_experiments.streams.continual_imagenet import ContinualImageNet
from cbp_experiments.streams.permuted_mnist import PermutedMNIST
from cbp_experiments.training.job import SECTIONS, build, build_job, meaning
from tests.command import call, composed

ROOT = Path(__file__).parents[2]
COMMITTED = Path(__file__).parents[1] / "committed_runs.txt"
DIGITS = """
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Digits:
    tasks: int
    noise: float = 0.0

    kind: ClassVar[str] = "digits"
"""
Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module of the user's own, which can then be imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(module: str, text: str) -> None:
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(text)

    return written


def named(target: str, **values: Any) -> Any:
    """What a section of this class and these values is in names."""
    return identity_of(build("data", {TARGET: target, **values})[1], meaning)


def test_a_key_that_is_added_with_a_neutral_default_leaves_the_name(write: Write) -> None:
    write("before", DIGITS)
    write("after", DIGITS.replace("noise:", "blur: list[int] | None = None\n    noise:"))
    assert named("before.Digits", tasks=3) == named("after.Digits", tasks=3) == {KIND: "digits", "tasks": 3}
    assert named("after.Digits", tasks=3, blur=[1]) != named("before.Digits", tasks=3)


def test_a_class_may_move_and_be_called_otherwise(write: Write) -> None:
    write("before", DIGITS)
    write("after", DIGITS.replace("class Digits", "class Numerals"))
    assert named("before.Digits", tasks=3) == named("after.Numerals", tasks=3)


def test_a_class_without_a_kind_is_known_by_its_name(write: Write) -> None:
    nameless = DIGITS.replace('kind: ClassVar[str] = "digits"', "pass")
    write("before", nameless)
    write("after", nameless + "\nclass Numerals(Digits): pass\n")
    assert named("before.Digits", tasks=3) == named("after.Digits", tasks=3) == {KIND: "Digits", "tasks": 3}
    assert named("after.Numerals", tasks=3) != named("after.Digits", tasks=3)


def test_a_subclass_is_another_kind(write: Write) -> None:
    write("mine", DIGITS + "\nclass Mine(Digits): pass\n")
    assert named("mine.Mine", tasks=3) != named("mine.Digits", tasks=3)


def test_a_field_called_kind_is_a_setting(write: Write) -> None:
    write("mine", DIGITS.replace('kind: ClassVar[str] = "digits"', 'kind: str = "plain"'))
    assert named("mine.Digits", tasks=3) == {KIND: "Digits", "tasks": 3}
    assert named("mine.Digits", tasks=3, kind="rare") == {KIND: "Digits", "tasks": 3, "kind": "rare"}


def test_a_mechanism_of_the_users_own_is_named_by_its_kind_and_its_values(write: Write) -> None:
    noise = (
        "from dataclasses import dataclass\nfrom typing import ClassVar\n@dataclass\nclass {}:\n    std: float = 0.5\n"
    )
    write("mine", noise.format("Noise"))
    write("moved", noise.format("Blur") + '    kind: ClassVar[str] = "Noise"\n')

    def learner(**mechanism: Any) -> Any:
        values = {TARGET: "cbp_experiments.learners.Learner", "name": "bp", "step_size": 0.1, "noise": mechanism}
        return identity_of(values, meaning)

    one = learner(_target_="mine.Noise", std=1.0)
    assert one["noise"] == {KIND: "Noise", "std": 1.0}
    assert one == learner(_target_="moved.Blur", std=1)
    assert one != learner(_target_="mine.Noise", std=2.0)
    assert one != learner(_target_="mine.Noise")


def test_a_key_that_there_was_once_and_that_says_nothing_is_left_out() -> None:
    """learner.mechanisms, of older versions."""
    learner: dict[str, Any] = {TARGET: "cbp_experiments.learners.Learner", "name": "bp", "step_size": 1}
    assert identity_of(learner | {"mechanisms": None}, meaning) == identity_of(learner, meaning)
    assert identity_of(learner | {"mechanisms": {}}, meaning) == identity_of(learner, meaning)
    assert identity_of(learner | {"mechanisms": {"a": 1}}, meaning) != identity_of(learner, meaning)


def test_the_order_of_the_keys_leaves_the_name() -> None:
    sections = {section: dict(reversed(build_job(composed()).sections[section].items())) for section in SECTIONS}
    backwards = dict(reversed(sections.items()))
    forwards = build_job(composed()).sections
    assert run_name(identity_of(backwards, meaning), 0) == run_name(identity_of(forwards, meaning), 0)


def present_targets() -> dict[str, str]:
    """Of every kind of the package its class, as the configuration names it."""
    found = {}
    for data in ("permuted_mnist", "continual_imagenet"):
        config = composed(f"data={data}", "scale=smoke")
        for section in SECTIONS:
            target = config[section][TARGET]
            found[meaning(target)[0]] = target
    return found


def test_kinds_and_neutral_values_never_change() -> None:
    """A default that changes, or a key that gets one, gives another meaning to the names of runs that are there."""
    targets = present_targets()
    always = {"permuted_mnist": {"tasks", "task_length"}, "continual_imagenet": {"tasks"}}
    always["learner"] = {"name", "step_size"}
    for kind, neutral in CLASSES.values():
        present = meaning(targets[kind])[1]
        assert {key: present.get(key) for key in neutral} == neutral, kind
        assert not present.keys() & always.get(kind, set()), kind


def test_the_names_of_all_committed_runs() -> None:
    """Each run has the name that the present code gives to its config.yaml. Runs of your own may be there, too."""
    targets, committed = present_targets(), COMMITTED.read_text().splitlines()
    known: dict[str, dict[str, Any]] = {}
    for name in committed:
        text, seed = (ROOT / "results" / name / "config.yaml").read_text(), name.rpartition("_seed")[2]
        sections = text.replace(f"seed: {seed}\n", "")
        if sections not in known:
            known[sections] = identity_now(yaml.load(sections, yaml.SafeLoader), targets)
        assert run_name(known[sections], int(seed)) == Path(name).name
    assert len(committed) == len(set(committed)) > 0


def identity_now(config: dict[str, Any], targets: dict[str, str]) -> dict[str, Any]:
    """What the present classes say of the settings in config.yaml."""
    identity = {}
    for section in SECTIONS:
        values = {
            key: value for key, value in config[section].items() if key not in (TARGET, KIND, "images") and value != {}
        }
        _, typed = build(section, {TARGET: targets[config[section][KIND]], **values})
        images = {"images": config[section]["images"]} if "images" in config[section] else {}
        identity[section] = identity_of(typed | images, meaning)
    return identity


UNFINISHED: tuple[str, ...] = ("continual_imagenet/step_sizes",)  # being trained
EXPERIMENTS = [
    name
    for name in dict.fromkeys(name for entry in PAPER.values() for name in (*entry.experiments, *entry.published))
    if (ROOT / "results" / name).is_dir() and name not in UNFINISHED and not name.startswith("tuning/")
]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_nothing_of_the_committed_experiments_is_left_to_train(
    experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `status`, which asks as training does; of images that need a download only the checksum is taken."""
    checksums = {
        json.loads(path.read_text())["data_checksum"] for path in (ROOT / "results" / experiment).glob("*/run.json")
    }
    for stream, source in ((PermutedMNIST, "embedded"), (ContinualImageNet, "synthetic")):

        def loaded(self: Any, original: Any = stream.load, source: str = source) -> Any:
            (checksum,) = checksums
            more = {"synthetic_classes": 2} if source == "synthetic" else {}
            return replace(original(replace(self, source=source, **more)), checksum=checksum)

        monkeypatch.setattr(stream, "load", loaded)
    monkeypatch.chdir(ROOT)
    outcome = call("status", "-m", f"experiment={experiment}", "engine.device=cpu", base=())
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()[-1].split()) == 4  # N runs: N complete
