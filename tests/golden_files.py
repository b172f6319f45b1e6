"""Reads golden files (golden/README.md) and stages them for the engines as a stream, a network and a learner.

The environment variable CBP_GOLDEN_DIR names another folder of the same format.
"""

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from cbp_experiments.engines import EngineOptions, Problem
from cbp_experiments.learners import Learner
from cbp_experiments.metrics.measurements import Measurements
from cbp_experiments.networks import MLP, Architecture, ConvNet
from cbp_experiments.networks.conv import KERNELS
from cbp_experiments.streams import Stream, Task

FOLDER = Path(os.environ.get("CBP_GOLDEN_DIR") or Path(__file__).parent / "golden")
RENAMED = {
    "opt": "optimizer",
    "util_type": "utility",
    "perturb_scale": "perturbation_std",
}  # from the files' hyperparameters to the fields of Learner
HIDDEN_LAYERS = 3
ARRAYS_OF = {"ranks": {"features0"}, "conv": {"batch", "hyper"}, "mlp": {"task_len", "hyper"}}


@dataclass(frozen=True)
class Golden:
    """One file's content."""

    name: str
    arrays: dict[str, np.ndarray]

    @property
    def kind(self) -> str:
        """mlp, conv or ranks, by what is in the file."""
        return next((kind for kind, arrays in ARRAYS_OF.items() if arrays <= self.arrays.keys()), "unknown")

    @property
    def hyper(self) -> dict[str, Any]:
        hyper = json.loads(str(self.arrays["hyper"]))
        if not hyper.pop("to_perturb", False):
            hyper.pop("perturb_scale", None)
        return hyper

    @property
    def missing(self) -> list[str]:
        """The hyperparameters, in use in this run, that no learner of ours has yet."""
        ours = {field.name for field in fields(Learner)}
        return [key for key, value in self.hyper.items() if value and RENAMED.get(key, key) not in ours]

    @property
    def steps(self) -> int:
        return int(self.arrays["steps"])

    @property
    def events(self) -> np.ndarray:
        """int `[events, 3]`: step, hidden layer, unit."""
        return self.arrays.get("events", np.zeros((0, 3), np.int64))

    def problem(self, dtype: str) -> Problem:
        """All draws as the README orders them."""
        seed = int(self.arrays["seed"])
        stream, network = self._conv(seed) if self.kind == "conv" else self._mlp(seed)
        known = {RENAMED.get(key, key): value for key, value in self.hyper.items() if key not in self.missing}
        return Problem(
            stream=stream,
            network=network,
            learner=Learner(name=str(self.arrays["kind"]), **known),
            measurements=Measurements(features=[]),
            options=EngineOptions(device="cpu", dtype=dtype),
        )

    def replacement_draws(self) -> np.random.Generator:
        """Of the fresh weights: one stream for the whole run."""
        return np.random.default_rng([int(self.arrays["seed"]), 2])

    def _mlp(self, seed: int) -> tuple[Stream, Architecture]:
        inputs, width, classes = self.arrays["sizes"].tolist()
        stream = GoldenStream(seed, inputs, classes, self.steps, int(self.arrays["task_len"]))
        return stream, GoldenNetwork(width, HIDDEN_LAYERS)

    def _conv(self, seed: int) -> tuple[Stream, Architecture]:
        return GoldenImages(seed, self.steps, int(self.arrays["batch"])), GoldenConvNet()


class GoldenStream:
    """The README's data for MLPs; the last task may be cut short."""

    scale, batch_size, checksum, description = 1.0, 1, "", "golden"

    def __init__(self, seed: int, inputs: int, classes: int, steps: int, task_length: int):
        rng = np.random.default_rng([seed, 1])
        teacher = rng.normal(size=(inputs, classes))
        self.images = rng.uniform(size=(steps, inputs)) * (rng.uniform(size=(steps, inputs)) < 0.2)
        self.labels = np.argmax(self.images @ teacher, axis=1)
        self.classes, self.tasks, self.task_length = classes, -(-steps // task_length), task_length
        self.lengths = [min(task_length, steps - start) for start in range(0, steps, task_length)]
        self.permutations = [rng.permutation(inputs) for _ in range(self.tasks)]

    def task(self, seed: int, task: int) -> Task:
        start = task * self.task_length
        return Task(np.arange(start, min(start + self.task_length, len(self.images))), self.permutations[task])

    def probe(self, seed: int, task: int) -> np.ndarray:
        return np.arange(1)

    def shortened(self, task_length: int) -> "GoldenStream":
        raise NotImplementedError


@dataclass(frozen=True)
class GoldenNetwork(MLP):
    """An MLP with the README's initial weights."""

    def initial_weights(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        rng = np.random.default_rng([seed, 0])
        layers = zip(self.shapes(inputs, classes), self.bounds(inputs, classes), strict=True)
        return [rng.uniform(-bound, bound, shape[::-1]).T for shape, bound in layers]


class GoldenImages:
    """The README's data for convolutional networks: one task."""

    scale, classes, tasks, checksum, description = 1.0, 2, 1, "", "golden"

    def __init__(self, seed: int, steps: int, batch_size: int):
        rng = np.random.default_rng([seed, 1])
        base = rng.normal(size=(2, 3, 32, 32))
        self.labels = rng.integers(0, 2, 60)
        self.images = (0.5 + 0.2 * (base[self.labels] + rng.normal(size=(60, 3, 32, 32)))).reshape(60, -1)
        self.order = np.concatenate([rng.permutation(60)[:batch_size] for _ in range(steps)])
        self.batch_size, self.task_length = batch_size, len(self.order)

    def task(self, seed: int, task: int) -> Task:
        return Task(self.order, None)

    def probe(self, seed: int, task: int) -> np.ndarray:
        return np.arange(1)

    def shortened(self, task_length: int) -> "GoldenImages":
        raise NotImplementedError


@dataclass(frozen=True)
class GoldenConvNet(ConvNet):
    """The paper's convolutional network with the README's initial weights and biases."""

    def initial_weights(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        rng = np.random.default_rng([seed, 0])
        weights = []
        for layer, (shape, bound) in enumerate(
            zip(self.shapes(inputs, classes), self.bounds(inputs, classes), strict=True)
        ):
            kernel = layer < len(KERNELS)
            drawn = rng.uniform(-(6**0.5) * bound, 6**0.5 * bound, shape if kernel else shape[::-1])
            weights.append(drawn if kernel else drawn.T)
        weights[-1] = np.zeros_like(weights[-1])
        return weights

    def initial_biases(self, seed: int, inputs: int, classes: int) -> list[np.ndarray]:
        return [np.zeros_like(bias) for bias in super().initial_biases(seed, inputs, classes)]


def golden_files(*kinds: str) -> list[Golden]:
    """The files of these kinds, by name; of any kind if none is given. No files where there is no such folder."""
    files = [Golden(path.stem, _read(path)) for path in sorted(FOLDER.glob("*.npz"))]
    return [file for file in files if file.kind in kinds or not kinds]


def sample(weight: np.ndarray) -> np.ndarray:
    """What the files keep of a weight, `[in, out]` or that of a convolution: sum, sum of absolute values, about 200
    entries."""
    flat = (weight if weight.ndim == 4 else weight.T).ravel()
    return np.concatenate([[flat.sum(), np.abs(flat).sum()], flat[:: max(1, flat.size // 200)]])


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)
