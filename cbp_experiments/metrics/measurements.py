"""Which metrics a job records before each task, and the columns they become."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from hydra.utils import get_method
from torch import Tensor

from cbp_experiments import metrics
from cbp_experiments.errors import ConfigError

POOLED = ("dead_units", "dormant_units")  # shares of all hidden units; other metrics are averaged over the layers
LARGEST = 1e100  # larger activations are not measured: sums of squares would overflow


@dataclass(frozen=True)
class Measurements:
    """The keys of `metrics:` in the configuration.

    features: names of functions of features.py, or a user's own as `package.module.function`. The ranks, which cost
    most, are measured at every `rank_every`-th task; at other tasks their cells are empty.
    """

    features: list[str] = field(default_factory=lambda: ["dead_units", "effective_rank"])
    rank_every: int = 1

    kind: ClassVar[str] = "measurements"

    def __post_init__(self) -> None:
        if self.rank_every < 1:
            raise ConfigError(f"metrics.rank_every must be at least 1, got {self.rank_every}")
        for name in self.features:
            _feature_metric(name)

    def take(self, task: int, hidden: Sequence[Tensor], weights: Sequence[Tensor]) -> list[dict[str, float]]:
        """Measure before task `task` (from 0): `hidden[l] [R, N, n, ...]`, `weights[l] [R, ...]` -> each run's columns.

        Feature metrics are in percent of the units. Per-layer values follow as `<metric>_<layer from 1>`. The units of
        a convolution are its filters, and each position of each example counts as an example.
        """
        runs = len(weights[0])
        hidden = [h if h.ndim == 3 else h.flatten(3).transpose(2, 3).flatten(1, 2) for h in hidden]
        units = np.array([h.shape[2] for h in hidden], np.float64)
        totals: dict[str, np.ndarray] = {}
        layers: dict[str, np.ndarray] = {}
        measurable = _measurable(hidden) if hidden else np.zeros(runs, bool)
        if not measurable.all():  # a run about to diverge must not disturb the others' metrics
            hidden = [h.masked_fill(torch.from_numpy(~measurable).to(h.device).view(-1, 1, 1), 0.0) for h in hidden]
        for name in self.features:
            if not hidden or (name in metrics.RANKS and task % self.rank_every):
                percent = np.full((runs, len(hidden)), np.nan)
            else:
                percent = 100 * np.stack([_units(name, h) for h in hidden], axis=1) / units
                percent[~measurable] = np.nan
            share = units / units.sum() if name in POOLED else np.full(len(hidden), 1 / max(len(hidden), 1))
            totals[name] = (percent * share).sum(axis=1) if hidden else np.full(runs, np.nan)
            layers |= {f"{name}_{i + 1}": percent[:, i] for i in range(len(hidden))}
        magnitudes = np.stack([metrics.weight_magnitude(weight).cpu().numpy() for weight in weights], axis=1)
        layers |= {f"weight_magnitude_{i + 1}": magnitudes[:, i] for i in range(len(weights))}
        sizes = [weight[0].numel() for weight in weights]
        totals["weight_magnitude"] = magnitudes @ sizes / sum(sizes)
        shares = [name for name in self.features if name in POOLED]
        columns = {name: totals[name] for name in [*shares, "weight_magnitude"]} | totals | layers
        return [{name: values[run].item() for name, values in columns.items()} for run in range(runs)]


def _measurable(hidden: Sequence[Tensor]) -> np.ndarray:
    """Whether all activations of a run are numbers whose squares can be summed: `[R]`."""
    within = [(h.amax(dim=(1, 2)) < LARGEST) & (h.amin(dim=(1, 2)) > -LARGEST) for h in hidden]
    return torch.stack(within).all(dim=0).cpu().numpy()


def _units(name: str, h: Tensor) -> np.ndarray:
    """Compute a metric of one layer: `[R, N, n]` -> float64 `[R]`. Raises ConfigError if it returns anything else."""
    try:
        value = _feature_metric(name)(h)
    except TypeError as error:
        raise ConfigError(f"metrics.features: {name} does not take activations [R, N, n] ({error})") from error
    if not isinstance(value, Tensor) or value.shape != h.shape[:1]:
        raise ConfigError(f"metrics.features: {name} must give a tensor with a number for each run")
    return value.detach().double().cpu().numpy()


@cache  # Hydra's search takes as long as the metric
def _feature_metric(name: str) -> metrics.FeatureMetric:
    try:
        return get_method(name if "." in name else f"cbp_experiments.metrics.{name}")
    except Exception as error:
        raise ConfigError(
            f"metrics.features: no metric {name!r}; take one of metrics/features.py or yours as package.module.function"
        ) from error
