"""The units of a hidden layer as mechanisms look at them and reset them: where their weights are, how large."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Where = tuple[int | slice | Tensor, ...]  # an index into a `[R, ...]`


@dataclass(frozen=True)
class Units:
    """A group of n units in each of R networks.

    weight: the weights into them, `[R, in, n]` of a fully connected layer, `[R, n, in, side, side]` of a convolution.
    bias: `[R, n]`. out: the weights out of them, of the layer that follows. bound: fresh weights are in +-bound.
    halves: what a unit sends on are two activations, in two blocks (CReLU).

    A unit may have P inputs of a fully connected layer that follows: P positions of a filter, or two halves.
    """

    weight: Tensor
    bias: Tensor
    out: Tensor
    bound: float
    halves: bool = False

    @property
    def count(self) -> int:
        return self.bias.shape[1]

    @property
    def filters(self) -> bool:
        return self.weight.ndim == 5

    @property
    def positions(self) -> int:
        """P."""
        return 1 if self.out.ndim == 5 else self.out.shape[1] // self.count

    def own(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Where in a `[R, n, ...]` the `units [R, K]` of each run are: values of `[R, K, ...]`."""
        return torch.arange(len(units), device=units.device).unsqueeze(1), units

    def incoming(self, units: Tensor) -> Where:
        """Where in `weight` the weights into `units [R, K]` are: values of `[R, K, ...]`."""
        runs, unit = self.own(units)
        return (runs, unit) if self.filters else (runs, slice(None), unit)

    def outgoing(self, units: Tensor) -> Where:
        """Where in `out` the weights out of `units [R, K]` are: values of `[R, K, ...]`."""
        runs, unit = self.own(units)
        if self.out.ndim == 5:
            return runs, slice(None), unit
        if self.positions == 1:
            return runs, unit
        place = torch.arange(self.positions, device=units.device)
        unit = unit.unsqueeze(2)
        return runs.unsqueeze(2), unit + place * self.count if self.halves else unit * self.positions + place

    def incoming_magnitude(self) -> Tensor:
        """Mean |w| of the weights into each unit: `[R, n]`."""
        return self.weight.abs().mean(dim=(2, 3, 4) if self.filters else 1)

    def outgoing_magnitude(self) -> Tensor:
        """Mean |w| of the weights out of each unit: `[R, n, P]`."""
        if self.out.ndim == 5:
            return self.out.abs().mean(dim=(1, 3, 4)).unsqueeze(2)
        means = self.out.abs().mean(dim=2)
        return means.unflatten(1, (-1, self.count)).mT if self.halves else means.unflatten(1, (self.count, -1))

    def observed(self, h: Tensor) -> Tensor:
        """The layer's activations `[R, B, n, ...]` as values of `[R, B, n, P]`; of a filter P are its positions."""
        if self.halves:
            return h.unflatten(2, (2, -1)).mT
        return h.unsqueeze(3) if h.ndim == 3 else h.flatten(3)


def put(values: Tensor, where: Where, new: Tensor, chosen: Tensor | None = None) -> None:
    """values[where] = new, but only for the units `chosen [R, K]` (bool), if that is given."""
    if chosen is not None:
        new = torch.where(chosen.view(*chosen.shape, *[1] * (values[where].ndim - 2)), new, values[where])
    values[where] = new


def fill(values: Tensor, where: Where, value: float, chosen: Tensor | None = None) -> None:
    """As `put`, one number for all. A plain one would be copied from the host, which a GPU makes it wait for."""
    put(values, where, values.new_full((), value), chosen)


def along_units(values: Tensor, x: Tensor) -> Tensor:
    """`values [R, n]` as they multiply with `x [R, B, n, ...]`."""
    return values.reshape(values.shape[0], 1, values.shape[1], *[1] * (x.ndim - 3))


def groups(
    weights: Sequence[Tensor], biases: Sequence[Tensor], bounds: Sequence[float], *, halves: bool = False
) -> list[Units]:
    """Those of a chain of layers: the units of each but the last."""
    return [Units(weights[i], biases[i], weights[i + 1], bounds[i], halves) for i in range(len(weights) - 1)]
