"""Every YAML under conf/ makes a job."""

import dataclasses
import re
import shlex
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from cbp_experiments.cli.compose import CONF, compose
from cbp_experiments.cli.hydra_errors import known_keys
from cbp_experiments.errors import ConfigError
from cbp_experiments.training.job import Job, build_job

SCALES = [
    pytest.param(path.stem, marks=[pytest.mark.slow] if path.stem == "smoke" else [])  # other tests run that one
    for path in sorted((CONF / "scale").glob("*.yaml"))
]
EXPERIMENTS = sorted(path.relative_to(CONF / "experiment") for path in (CONF / "experiment").rglob("*.yaml"))
OPTIONS = sorted(
    f"{group.name}={path.relative_to(group).with_suffix('')}"
    for group in CONF.iterdir()
    if group.is_dir()
    and group.name not in ("hydra", "experiment", "sizes", "published", "grid")  # the last are not chosen alone
    for path in group.rglob("*.yaml")
)
# Keys that keep their names: people have them in scripts.
KEYS = {
    *("seeds", "scale", "engine", "results_dir", "force"),
    *("data.source", "data.root", "data.tasks", "data.task_length", "data.batch_size"),
    *("network.width", "network.depth"),
    *("learner.step_size", "learner.replacement_rate", "learner.maturity_threshold", "learner.decay_rate"),
}


def jobs(*arguments: str) -> list[Job]:
    with patch.object(sys, "argv", ["cbp-experiments", *arguments]):
        return [build_job(job.config) for job in compose()]


def tuned_by(experiment: Path, scale: str) -> str | None:
    """The tuning whose choice an experiment takes at a scale, if any."""
    value = yaml.safe_load((CONF / "experiment" / experiment).read_text()).get("tuned")
    return value and (dict(re.findall(r"(\w+):(\w+)", value)).get(scale, value))


def option(name: Path) -> str:
    return f"experiment={name.with_suffix('')}"


@pytest.mark.parametrize("argument", OPTIONS)
def test_every_option_makes_a_job(argument: str) -> None:
    (job,) = jobs(argument)
    if argument.startswith("learner="):
        assert job.learner.name == argument.removeprefix("learner=")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=str)
def test_every_experiment_makes_jobs_at_every_scale(
    experiment: Path, scale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CONF.parent)  # where the settings are that tuning has chosen
    if (name := tuned_by(experiment, scale)) and not (CONF.parent / "results" / "tuning" / name).is_dir():
        with pytest.raises(ConfigError, match=f"tuned={name}: no choice for .* python -m cbp_experiments tune "):
            jobs(option(experiment), f"scale={scale}")
        return
    made = jobs(option(experiment), f"scale={scale}")
    assert made
    for job in made:
        assert job.experiment in (experiment.with_suffix("").as_posix(), experiment.parent.as_posix())
        assert job.scale == scale


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=str)
def test_an_experiment_begins_with_its_command(experiment: Path) -> None:
    lines = (CONF / "experiment" / experiment).read_text().splitlines()
    commands = [line.removeprefix("# ") for line in lines[:2] if line.startswith("# python -m cbp_experiments ")]
    assert len(commands) == 1, "the first line (after @package) must be the command that runs it"
    arguments = shlex.split(commands[0])[3:]
    assert arguments == ["-m", option(experiment)]


def test_the_keys_that_keep_their_names() -> None:
    assert set(known_keys()) >= KEYS


@pytest.mark.parametrize(
    ("scale", "source", "seeds", "width"), [("laptop", "embedded", 10, 100), ("paper", "mnist", 30, 2000)]
)
def test_what_the_scales_are(scale: str, source: str, seeds: int, width: int) -> None:
    (job,) = jobs(f"scale={scale}")
    assert (job.data.source, len(job.seeds), job.network.width, job.network.depth) == (source, seeds, width, 3)
    assert (job.data.batch_size, job.learner.name) == (1, "cbp")
    if scale == "paper":
        assert (job.data.tasks, job.data.task_length) == (800, 60_000)


def test_the_default_is_the_laptop_scale() -> None:
    assert jobs() == jobs("scale=laptop")


def test_the_command_line_is_stronger_than_the_scale() -> None:
    (job,) = jobs("scale=paper", "seeds=[3,7]", "network.width=10", "data.tasks=4", "data.source=embedded")
    assert (job.seeds, job.network.width, job.data.tasks, job.data.source) == ([3, 7], 10, 4, "embedded")


# What the published runs on Online Permuted MNIST have set, and what the paper says of their variations.
PUBLISHED: dict[str, dict[str, Any]] = {
    "bp": {"step_size": 0.003},
    "l2": {"step_size": 0.003, "weight_decay": 1e-4},
    "snp": {"step_size": 0.003, "weight_decay": 1e-4, "perturbation_std": 1e-5},
    "dropout": {"step_size": 0.003},
    "onlinenorm": {"step_size": 0.003, "normalization": "online"},
    "batchnorm": {"step_size": 0.003, "normalization": "batch"},
    "adam": {"step_size": 1e-4, "beta1": 0.9, "beta2": 0.999, "optimizer": "adam"},
    "cbp": {"step_size": 0.003, "replacement_rate": 1e-6, "maturity_threshold": 100, "decay_rate": 0.99},
    "linear": {"step_size": 0.003},
}


def test_every_learner_has_its_published_settings_as_defaults() -> None:
    assert sorted(PUBLISHED) == sorted(path.stem for path in (CONF / "learner").glob("*.yaml"))
    for learner, values in PUBLISHED.items():
        (job,) = jobs(f"learner={learner}", "scale=paper")
        assert {key: getattr(job.learner, key) for key in values} == values
        assert job.network.depth == (0 if learner == "linear" else 3)
        assert job.data.batch_size == (10 if learner == "batchnorm" else 1)


# What the published runs on Continual ImageNet have set; the other learners' settings there are ours.
PUBLISHED_ON_IMAGENET: dict[str, dict[str, Any]] = {
    "bp": {"step_size": 0.01},
    "l2": {"step_size": 0.03, "weight_decay": 3e-6},
    "snp": {"step_size": 0.01, "weight_decay": 1e-5, "perturbation_std": 1e-5},
    "cbp": {"step_size": 0.01, "replacement_rate": 3e-4, "maturity_threshold": 100, "decay_rate": 0.99},
}


@pytest.mark.parametrize("learner", PUBLISHED_ON_IMAGENET)
def test_every_learner_has_its_published_settings_on_continual_imagenet_too(learner: str) -> None:
    values = PUBLISHED_ON_IMAGENET[learner] | {"momentum": 0.9}
    (job,) = jobs("data=continual_imagenet", f"learner={learner}", "scale=paper")
    assert {key: getattr(job.learner, key) for key in values} == values
    assert (job.data.epochs, job.data.train_images, job.network.width) == (250, 600, 128)


def test_the_command_line_is_stronger_than_what_was_published() -> None:
    (job,) = jobs("learner=batchnorm", "data.batch_size=4")
    assert job.data.batch_size == 4
    (job,) = jobs("learner=cbp", "learner.replacement_rate=0.5", "scale=paper")
    assert job.learner.replacement_rate == 0.5


@pytest.mark.parametrize(
    ("learner", "key", "value"),
    [
        ("cbp", "optimizer", "adam"),
        ("cbp", "weight_decay", 1e-4),
        ("snp", "optimizer", "adam"),
        ("cbp", "dropout", 0.1),
        ("cbp", "normalization", "online"),
    ],
)
def test_learners_compose_by_configuration_alone(learner: str, key: str, value: Any) -> None:
    (alone,), (job,) = jobs(f"learner={learner}"), jobs(f"learner={learner}", f"learner.{key}={value}")
    assert job.learner == dataclasses.replace(alone.learner, **{key: value})
    assert job.learner != alone.learner
