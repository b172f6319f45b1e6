"""Results of older versions, which named a folder after all keys of its config.yaml, with classes by import path.

Such a run has no `settings` in run.json. It can still be read; scripts/rename_results.py gives it its present name.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cbp_experiments.results.naming import KIND, TARGET, with_kinds

# The package's classes at that time: the kind of each, and its defaults, which are the neutral values in names.
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
ENGINE = "cbp_experiments.engines.EngineOptions"  # an older config.yaml does not name it
SECTIONS = ("data", "network", "learner", "engine", "metrics")


def is_older(run: Mapping[str, Any]) -> bool:
    """Whether run.json is from such an older version."""
    return "settings" not in run


def older_name(config: Mapping[str, Any], seed: int) -> str:
    """Return the name that an older version gave a run. config: the content of config.yaml, older or present.

    Raises ValueError if it lacks a section.
    """
    if missing := [section for section in SECTIONS if not isinstance(config.get(section), dict)]:
        raise ValueError(f"no {missing[0]} in it")
    known = {section: _without_kinds(config[section]) for section in SECTIONS}
    known["engine"].pop(TARGET, None)
    canonical = json.dumps(known, sort_keys=True, separators=(",", ":"))
    return f"{config['learner'].get('name')}_{sha256(canonical.encode()).hexdigest()[:8]}_seed{seed}"


def with_engine(config: Mapping[str, Any]) -> dict[str, Any]:
    """Add the class of the engine section, which an older config.yaml does not name."""
    return {**config, "engine": {TARGET: ENGINE, **config["engine"]}}


def with_older_kinds(config: Mapping[str, Any]) -> Any:
    """Add the kinds that an older config.yaml lacks. The kind of a user's own class is its name."""
    return with_kinds(with_engine(config), lambda target: CLASSES.get(target, (target.rpartition(".")[2], {})))


def _without_kinds(values: Any) -> Any:
    if isinstance(values, list):
        return [_without_kinds(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {key: _without_kinds(value) for key, value in values.items() if key != KIND}
