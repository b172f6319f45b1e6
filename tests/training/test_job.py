"""From a configuration to a job: what makes a run what it is, and what is refused."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from cbp_experiments.errors import ConfigError
from cbp_experiments.results import run_name
from cbp_experiments.training.job import Job, build_job, parse_seeds
from tests.command import composed

# What does not change a run's numbers.
NO_IDENTITY = [
    "seeds=[3]",
    "results_dir=elsewhere",
    "force=true",
    "checkpoint_seconds=1",
    "data.root=elsewhere",
    "engine.name=online",
    "engine.device=cpu",
    "engine.workers=1",
    "engine.graph=off",
]
# A value, and what the one line must say. tests/cli/test_cli.py has what Hydra refuses.
BAD_VALUES = [
    ("learner._target_=no.Such", "learner._target_: no class 'no.Such' can be imported"),
    ("seeds=[]", "seeds must be a whole number or a list of them, got []"),
    ("seeds=[1,1]", "seeds must be different"),
    ("seeds=1.5", "seeds must be a whole number or a list of them, got 1.5"),
    ("learner.step_size=0", "learner.step_size must be a positive number, got 0.0"),
    ("learner.step_size=nan", "learner.step_size must be a positive number, got nan"),
    ("learner.step_size=inf", "learner.step_size must be a positive number, got inf"),
    ("learner.step_size=null", "learner.step_size must be a number, got null"),
    ("learner.step_size=", "learner.step_size must be a number, got ''"),
    ("learner.step_size=[0.1]", "learner.step_size must be a number, got [0.1]"),
    ("learner.step_size=true", "learner.step_size must be a number, got True"),
    ("learner.replacement_rate=-1e-4", "learner.replacement_rate must be between 0 and 1"),
    ("learner.weight_decay=-1", "learner.weight_decay must be 0 or more, got -1.0"),
    ("learner.perturbation_std=inf", "learner.perturbation_std must be 0 or more, got inf"),
    ("learner.dropout=1", "learner.dropout must be at least 0 and below 1, got 1.0"),
    ("learner.weight_decay=400", "learner.step_size x learner.weight_decay must be below 1"),
    ("learner.decay_rate=1", "learner.decay_rate must be at least 0 and below 1, got 1.0"),
    ("learner.maturity_threshold=-1", "learner.maturity_threshold must be a number of updates from 0 to 9e18, got -1"),
    ("learner.maturity_threshold=1.5", "learner.maturity_threshold must be a whole number, got 1.5"),
    ("learner.optimizer=nope", "learner.optimizer must be one of sgd, adam, adamw, got 'nope'"),
    ("learner.utility=nope", "learner.utility must be one of "),
    ("network.width=0", "network.width must be at least 1, got 0"),
    ("network.depth=-1", "network.depth must be 0 (a linear learner) or more, got -1"),
    ("network.activation=nope", "network.activation must be one of relu, "),
    ("data.tasks=0", "data.tasks must be at least 1, got 0"),
    ("data.batch_size=0", "data.batch_size must be at least 1, got 0"),
    ("data.task_length=2.5", "data.task_length must be a whole number, got 2.5"),
    ("results_dir=", "results_dir must be the path of a folder, got ''"),
    ("results_dir=null", "results_dir must be the path of a folder, got None"),
    ("force=3", "force must be true or false, got 3"),
    ("checkpoint_seconds=-1", "checkpoint_seconds must be a number of seconds, 0 or more, got -1"),
    ("checkpoint_seconds=soon", "checkpoint_seconds must be a number of seconds, 0 or more, got 'soon'"),
    ("engine.dtype=float16", "engine.dtype must be float32 or float64, got 'float16'"),
    ("engine.workers=-1", "engine.workers must be 0 (one a core) or more, got -1"),
    ("engine.graph=on", "engine.graph must be auto (a CUDA graph on a GPU) or off, got 'on'"),
    ("metrics.features=dead_units", "metrics.features must be a list, such as [a,b], got 'dead_units'"),
    ("metrics.rank_every=0", "metrics.rank_every must be at least 1, got 0"),
    ("seeds=null", "got None"),
    ("seeds=true", "got True"),
    ("learner.step_size={a:1}", "must be a number, got {'a': 1}"),
    ("learner.name=null", "learner.name must be a text, got null"),
    ("+learner.mine=3", "unknown key learner.mine; there are: name, step_size, "),
    ("+learner.mine={threshold:3}", "unknown key learner.mine; there are: name, step_size, "),
    ("+learner.mine._target_=builtins.dict", "learner.mine._target_: builtins.dict must be a dataclass"),
    ("learner.optimizer_state=all", "learner.optimizer_state must be null or one of none, moments, moments_and_count"),
    ("learner.reset_momentum=maybe", "learner.reset_momentum must be true or false, got 'maybe'"),
    ("network.width=1e3", "network.width must be a whole number, got 1000.0"),
    ("data.tasks=true", "data.tasks must be a whole number, got True"),
    ("results_dir=[a]", "results_dir must be the path of a folder, got ['a']"),
    ("checkpoint_seconds=nan", "got nan"),
    ("learner.epsilon=0", "learner.epsilon must be a positive number, got 0.0"),
    ("learner.momentum=1", "learner.momentum must be at least 0 and below 1"),
]
GROUPS = ("data", "network", "learner", "engine", "metrics")

CHECKSUM = "sha256:0123456789"


def job(*overrides: str) -> Job:
    return build_job(composed(*overrides))


def name(job: Job, checksum: str = CHECKSUM, engine: str = "online") -> str:
    return run_name(job.identity(job.settings(checksum, engine)), 0)


@pytest.mark.parametrize("section", ["data", "network", "learner", "metrics"])
def test_every_setting_is_part_of_the_name(section: str) -> None:
    same = job()
    circumstances = {override.partition("=")[0] for override in NO_IDENTITY}
    for key in same.sections[section]:
        changed = same.sections | {section: same.sections[section] | {key: "other"}}
        other = dataclasses.replace(same, sections=changed)
        assert (name(other) == name(same)) == (f"{section}.{key}" in circumstances)


def test_the_arithmetic_is_part_of_the_name() -> None:
    names = {name(job()), name(job("engine.dtype=float64")), name(job(), engine="ensemble")}
    assert len(names) == 3


def test_the_images_are_part_of_the_name() -> None:
    assert name(job(), "sha256:1234567890") != name(job())


@pytest.mark.parametrize("override", NO_IDENTITY)
def test_what_does_not_change_the_numbers_does_not_change_the_name(override: str) -> None:
    assert name(job(override)) == name(job())


def test_the_scale_and_the_experiment_are_no_part_of_the_name() -> None:
    config = composed()
    config.scale, config.experiment = "smoke", "other"
    assert name(build_job(config)) == name(job())


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ("learner.step_size", ["3", "3.0", "3e0", "'3'"]),
        ("learner.step_size", ["1e-3", "1E-3", "0.001", ".001", "'1e-3'"]),
        ("learner.replacement_rate", ["0", "0.0", "-0"]),
        ("network.width", ["12", "'12'"]),
        ("learner.reset_momentum", ["true", "True", "yes"]),
    ],
)
def test_a_number_may_be_written_in_any_way(key: str, same: list[str]) -> None:
    names = {name(job(f"{key}={value}")) for value in same}
    assert len(names) == 1
    section, _, field = key.partition(".")
    value = getattr(getattr(job(f"{key}={same[0]}"), section), field)
    assert type(value) in (int, float, bool)


def test_the_configuration_of_a_run_holds_no_folder_of_this_machine(tmp_path: Path) -> None:
    made = job(f"results_dir={tmp_path}", f"data.root={tmp_path}")
    recorded = made.run_config(3, made.settings(CHECKSUM, "online"))
    assert str(tmp_path) not in OmegaConf.to_yaml(recorded)
    assert recorded["seed"] == 3
    assert recorded["experiment"] == "permuted_mnist"
    assert recorded["scale"] == "laptop"
    engine = {key: value for key, value in recorded["engine"].items() if key != "_target_"}
    assert engine == {"_kind_": "engine", "name": "online", "device": "cpu", "dtype": "float32"}
    assert recorded["learner"]["replacement_rate"] == 1e-4
    assert recorded["data"]["tasks"] == 800


def test_defaults_that_a_configuration_leaves_out_are_recorded() -> None:
    config = composed()
    whole = build_job(config)
    del config.learner.momentum
    assert build_job(config).sections == whole.sections


@pytest.mark.parametrize(("value", "seeds"), [(5, [0, 1, 2, 3, 4]), (1, [0]), ([3, 7], [3, 7]), ([7, 0], [7, 0])])
def test_seeds(value: object, seeds: list[int]) -> None:
    assert parse_seeds(value) == seeds


@pytest.mark.parametrize(
    "value",
    [0, -1, 2**32 + 1, [], [1, 1], [-1], [2**32], [1.5], ["a"], [True], [None], "abc", 1.5, None, True, {"a": 1}],
)
def test_seeds_that_are_none(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^seeds must be .*seeds=5.*seeds=\[3,7\]"):
        parse_seeds(value)


@pytest.mark.parametrize(("override", "message"), BAD_VALUES, ids=[override for override, _ in BAD_VALUES])
def test_values_that_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        job(override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seedss": 3}, "unknown key seedss; did you mean seeds?"),
        ({"zzz": 3}, "unknown key zzz; there are: "),
        ({"experiment": "../x"}, "experiment=../x: it names a folder below results_dir"),
        ({"experiment": "/x"}, "experiment=/x: "),
        ({"experiment": "a//b"}, "experiment=a//b: "),
        ({"experiment": ".x"}, "experiment=.x: "),
        ({"experiment": ""}, "experiment=: "),
        ({"experiment": None}, "experiment=None: "),
        ({"learner": None}, "learner must be a group of keys with a _target_, got None"),
        ({"learner": {"name": "x"}}, "learner must be a group of keys with a _target_"),
        ({"learner": {"_target_": 3}}, "learner must be a group of keys with a _target_"),
        ({"learner": {"_target_": "os.path"}}, "learner._target_: no class 'os.path' can be imported"),
        ({"network": {"_target_": "builtins.int"}}, "network._target_: builtins.int must be a dataclass"),
        ({"learner": {"_target_": "cbp_experiments.learners.Learner", "step_size": 1}}, "learner.name has no value"),
        (
            {"metrics": {"_target_": "cbp_experiments.metrics.measurements.Measurements", "every": 1}},
            "mean metrics.rank_every?",
        ),
        ({"results_dir": ""}, "results_dir must be the path of a folder, got ''"),
    ],
)
def test_configurations_that_are_refused(change: dict[str, Any], message: str) -> None:
    config = composed()
    OmegaConf.set_struct(config, False)
    for key, value in change.items():
        config[key] = value
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        build_job(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [*GROUPS, "seeds", "results_dir", "force", "experiment", "checkpoint_seconds"])
def test_no_key_may_be_missing(key: str) -> None:
    config = composed()
    OmegaConf.set_struct(config, False)
    experiment = config.pop("experiment")
    if key != "experiment":
        config.experiment = "x" if key == "data" else experiment
        del config[key]
    with pytest.raises(ConfigError, match=f"^{key} is missing"):
        build_job(config)


def test_a_value_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^learner.step_size has no value; set it .*\(learner.step_size=...\)$"):
        job("learner.step_size=???")


def test_an_experiment_may_lie_deeper() -> None:
    config = composed()
    config.experiment = "permuted_mnist/step_sizes"
    assert build_job(config).experiment == "permuted_mnist/step_sizes"


def test_a_folder_in_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert job("results_dir='~/results'").results_dir == Path("/somewhere/results")
