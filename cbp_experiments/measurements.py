"""Which metrics a job records before each task, and the columns they become."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from hydra.utils import get_method
from torch import Tensor

from cbp_experiments import metrics
from cbp_experiments.errors import ConfigError

POOLED = ("dead_units", "dormant_units")  # shares of all hidden units; other metrics are averaged over the layers
LARGEST = 1e100  # beyond it an activation is not measured: sums of squares would overflow


@dataclass(frozen=True)
class Measurements:
    """The keys of `metrics:` in the configuration.

    `features` names functions of metrics.py, or a user's own as `package.module.function`. The ranks, which cost most,
    are taken at every `rank_every`-th task and leave their cells empty at the others.
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

        Feature metrics are given in percent of the units. Per-layer values follow as `<metric>_<layer from 1>`. The
        units of a convolution are its filters, and each position of each example is an example of them.
        """
        runs = len(weights[0])
        hidden = [h if h.ndim == 3 else h.flatten(3).transpose(2, 3).flatten(1, 2) for h in hidden]
        totals: dict[str, Tensor] = {}
        layers: dict[str, Tensor] = {}
        measurable = _measurable(hidden) if hidden else torch.zeros(runs, dtype=torch.bool)
        if not measurable.all():  # a run about to diverge must not disturb the others' metrics
            hidden = [h.masked_fill(~measurable.to(h.device).view(-1, 1, 1), 0.0) for h in hidden]
        for name in self.features:
            if not hidden or (name in metrics.RANKS and task % self.rank_every):
                percent = torch.full((runs, len(hidden)), torch.nan, dtype=torch.float64)
            else:
                percent = torch.stack([100 * _units(name, h) / h.shape[2] for h in hidden], dim=1)
                percent[~measurable] = torch.nan
            units = torch.tensor([h.shape[2] for h in hidden], dtype=torch.float64)
            share = units / units.sum() if name in POOLED else torch.full_like(units, 1 / max(len(hidden), 1))
            totals[name] = (percent * share).sum(dim=1) if hidden else torch.full((runs,), torch.nan)
            layers |= {f"{name}_{i + 1}": percent[:, i] for i in range(len(hidden))}
        layers |= {f"weight_magnitude_{i + 1}": metrics.weight_magnitude([w]).cpu() for i, w in enumerate(weights)}
        totals["weight_magnitude"] = metrics.weight_magnitude(weights).cpu()
        shares = [name for name in self.features if name in POOLED]
        columns = {name: totals[name] for name in [*shares, "weight_magnitude"]} | totals | layers
        return [{name: values[run].item() for name, values in columns.items()} for run in range(runs)]


def _measurable(hidden: Sequence[Tensor]) -> Tensor:
    """Whether all activations of a run are numbers whose squares can be summed: `[R]`, on the CPU."""
    return torch.stack([h.abs().amax(dim=(1, 2)) < LARGEST for h in hidden]).all(dim=0).cpu()


def _units(name: str, h: Tensor) -> Tensor:
    """A metric of one layer: `[R, N, n]` -> float64 `[R]`, on the CPU. Raises ConfigError unless it gives that."""
    try:
        value = _feature_metric(name)(h)
    except TypeError as error:
        raise ConfigError(f"metrics.features: {name} does not take activations [R, N, n] ({error})") from error
    if not isinstance(value, Tensor) or value.shape != h.shape[:1]:
        raise ConfigError(f"metrics.features: {name} must give a tensor with a number for each run")
    return value.double().cpu()


def _feature_metric(name: str) -> metrics.FeatureMetric:
    try:
        return get_method(name if "." in name else f"cbp_experiments.metrics.{name}")
    except Exception as error:
        raise ConfigError(
            f"metrics.features: no metric {name!r}; take one of metrics.py or your own as package.module.function"
        ) from error
