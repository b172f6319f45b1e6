"""The units of a hidden layer, as mechanisms see and reset them: where their weights are and how large they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Where = tuple[int | slice | Tensor, ...]  # an index into an `[R, ...]`


@dataclass(frozen=True)
class Units:
    """A group of n units in each of R networks.

    weight: incoming weights, `[R, in, n]` of a fully connected layer, `[R, n, in, side, side]` of a convolution.
    bias: `[R, n]`. out: outgoing weights, those of the next layer. bound: fresh weights are in +-bound.
    halves: each unit has two activations, in two blocks (CReLU).

    If the next layer is fully connected, a unit may be P of its inputs: P positions of a filter, or two halves.
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
        """P: inputs of the next layer per unit."""
        return 1 if self.out.ndim == 5 else self.out.shape[1] // self.count

    def own(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the `units [R, K]` of each run in an `[R, n, ...]`; it selects `[R, K, ...]`."""
        return torch.arange(len(units), device=units.device).unsqueeze(1), units

    def incoming(self, units: Tensor) -> Where:
        """Index in `weight` of the weights into `units [R, K]`; it selects `[R, K, ...]`."""
        runs, unit = self.own(units)
        return (runs, unit) if self.filters else (runs, slice(None), unit)

    def outgoing(self, units: Tensor) -> Where:
        """Index in `out` of the weights out of `units [R, K]`; it selects `[R, K, ...]`."""
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
        """Reshape the layer's activations `[R, B, n, ...]` to `[R, B, n, P]`; for a filter, P counts its positions."""
        if self.halves:
            return h.unflatten(2, (2, -1)).mT
        return h.unsqueeze(3) if h.ndim == 3 else h.flatten(3)


def put(values: Tensor, where: Where, new: Tensor, chosen: Tensor | None = None) -> None:
    """Set values[where] = new; if `chosen [R, K]` (bool) is given, only for the units it selects."""
    if chosen is not None:
        new = torch.where(chosen.view(*chosen.shape, *[1] * (values[where].ndim - 2)), new, values[where])
    values[where] = new


def fill(values: Tensor, where: Where, value: float, chosen: Tensor | None = None) -> None:
    """Like `put`, with one number for all. It is made on the device: copying it would make the host wait for a GPU."""
    put(values, where, values.new_full((), value), chosen)


def along_units(values: Tensor, x: Tensor) -> Tensor:
    """Reshape `values [R, n]` so that they multiply with `x [R, B, n, ...]`."""
    return values.reshape(values.shape[0], 1, values.shape[1], *[1] * (x.ndim - 3))


def groups(
    weights: Sequence[Tensor], biases: Sequence[Tensor], bounds: Sequence[float], *, halves: bool = False
) -> list[Units]:
    """Return the units of each layer in a chain of layers, except the last."""
    return [Units(weights[i], biases[i], weights[i + 1], bounds[i], halves) for i in range(len(weights) - 1)]
