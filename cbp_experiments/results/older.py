"""Results of versions before names by meaning: a folder is named after all keys of its config.yaml, classes by path.

Such a run has no `settings` in run.json. It is read as it is; scripts/rename_results.py gives it its present name.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cbp_experiments.results.naming import KIND, TARGET, with_kinds

# The classes of the package as they were: the kind of each, and its defaults, which are the neutral values of names.
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "cbp_experiments.streams.permuted_mnist.PermutedMNIST": (
        "permuted_mnist",
        {"batch_size": 1, "source": "embedded", "root": "data", "name": "permuted_mnist"},
    ),
    "cbp_experiments.streams.continual_imagenet.ContinualImageNet": (
        "continual_imagenet",
        {
            "epochs": 250,
            "batch_size": 100,
            "train_images": 600,
            "test_images": 100,
            "pairs": "fresh",
            "source": "imagenet",
            "root": "data",
            "synthetic_classes": 40,
            "name": "continual_imagenet",
        },
    ),
    "cbp_experiments.networks.MLP": ("mlp", {"width": 2000, "depth": 3, "activation": "relu"}),
    "cbp_experiments.networks.ConvNet": ("conv", {"width": 128}),
    "cbp_experiments.learners.Learner": (
        "learner",
        {
            "optimizer": "sgd",
            "momentum": 0.0,
            "beta1": 0.9,
            "beta2": 0.999,
            "epsilon": 1e-8,
            "weight_decay": 0.0,
            "perturbation_std": 0.0,
            "dropout": 0.0,
            "normalization": "none",
            "normalization_decay": 0.999,
            "normalization_backward_decay": 0.99,
            "normalization_epsilon": 1e-5,
            "replacement_rate": 0.0,
            "maturity_threshold": 100,
            "decay_rate": 0.99,
            "utility": "adaptable_contribution",
            "reset_momentum": False,
            "reset_normalization": True,
            "mechanisms": None,
        },
    ),
    "cbp_experiments.engines.EngineOptions": (
        "engine",
        {"name": "auto", "device": "auto", "dtype": "float32", "workers": 0},
    ),
    "cbp_experiments.metrics.measurements.Measurements": (
        "measurements",
        {"features": ["dead_units", "effective_rank"], "rank_every": 1},
    ),
}
ENGINE = "cbp_experiments.engines.EngineOptions"  # config.yaml did not name it
SECTIONS = ("data", "network", "learner", "engine", "metrics")


def is_older(run: Mapping[str, Any]) -> bool:
    """Whether run.json is of a version before names by meaning."""
    return "settings" not in run


def older_name(config: Mapping[str, Any], seed: int) -> str:
    """The name that a run had then. config: what config.yaml holds, by then or by now.

    Raises ValueError when it lacks a section.
    """
    if missing := [section for section in SECTIONS if not isinstance(config.get(section), dict)]:
        raise ValueError(f"no {missing[0]} in it")
    known = {section: _without_kinds(config[section]) for section in SECTIONS}
    known["engine"].pop(TARGET, None)
    canonical = json.dumps(known, sort_keys=True, separators=(",", ":"))
    return f"{config['learner'].get('name')}_{sha256(canonical.encode()).hexdigest()[:8]}_seed{seed}"


def with_engine(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.yaml with the class of the engine section, which it did not name then."""
    return {**config, "engine": {TARGET: ENGINE, **config["engine"]}}


def with_older_kinds(config: Mapping[str, Any]) -> Any:
    """config.yaml of then, with the kinds that it would name by now. A user's own class is known by its name."""
    return with_kinds(with_engine(config), lambda target: CLASSES.get(target, (target.rpartition(".")[2], {})))


def _without_kinds(values: Any) -> Any:
    if isinstance(values, list):
        return [_without_kinds(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {key: _without_kinds(value) for key, value in values.items() if key != KIND}
