"""Problems that train in milliseconds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from cbp_experiments.engines import EngineOptions, Problem
from cbp_experiments.learners import Learner
from cbp_experiments.metrics.measurements import Measurements
from cbp_experiments.networks import MLP, Architecture
from cbp_experiments.streams.permuted_mnist import PermutedImages

BP = Learner(name="bp", step_size=0.05)
CBP = Learner(name="cbp", step_size=0.05, replacement_rate=0.02, maturity_threshold=10, decay_rate=0.9)


def sparse_images(count: int = 50, inputs: int = 20, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels, most of them 0 as MNIST's, and random labels; the first image is empty."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, inputs), np.uint8) * (rng.random((count, inputs)) < 0.3)
    images[0] = 0
    return images.astype(np.uint8), rng.integers(0, classes, count)


def stacked(
    network: Architecture, seeds: Sequence[int], inputs: int, classes: int, dtype: torch.dtype = torch.float64
) -> Any:
    """The networks of the runs with these seeds, side by side on the CPU."""
    weights = [network.initial_weights(seed, inputs, classes) for seed in seeds]
    biases = [network.initial_biases(seed, inputs, classes) for seed in seeds]
    return network.stack(weights, biases, network.bounds(inputs, classes), torch.device("cpu"), dtype)


def tiny_problem(
    learner: Learner,
    *,
    network: MLP | None = None,
    tasks: int = 3,
    task_length: int = 40,
    batch_size: int = 1,
    inputs: int = 20,
    classes: int = 4,
    dtype: str = "float64",
    features: Sequence[str] = ("dead_units", "dormant_units", "effective_rank"),
    workers: int = 1,
) -> Problem:
    images, labels = sparse_images(inputs=inputs, classes=classes)
    return Problem(
        stream=PermutedImages(images, labels, tasks, task_length, batch_size, classes=classes),
        network=network or MLP(width=12, depth=2),
        learner=learner,
        measurements=Measurements(features=list(features)),
        options=EngineOptions(device="cpu", dtype=dtype, workers=workers),
    )
