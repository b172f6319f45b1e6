"""Resetting units: fresh weights in, none out, and an optimizer that forgets what it knew of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from cbp_experiments.learners.draws import Draws
from cbp_experiments.networks import Units, Where, fill, put


class ResetsNormalization(Protocol):
    def reset(self, layer: int, where: Where, chosen: Tensor | None = None) -> None: ...


class HasUnits(Protocol):
    """R networks whose units can be reset (networks.StackedNetwork describes the attributes)."""

    @property
    def units(self) -> Sequence[Units]: ...

    @property
    def normalization(self) -> ResetsNormalization | None: ...

    @property
    def of_normalization(self) -> Sequence[Sequence[Tensor]]: ...

    @property
    def mature_units_only(self) -> bool: ...


class ResetsState(Protocol):
    """The optimizer of these networks (optimizers.Updater describes the method)."""

    def reset(self, parameter: Tensor, where: Where, forget: str, chosen: Tensor | None = None) -> None: ...


class Resetting:
    """R networks, their optimizer, and random draws: all that a mechanism needs to reset units."""

    def __init__(self, network: HasUnits, optimizer: ResetsState, draws: Draws):
        self.network, self.optimizer, self.draws = network, optimizer, draws

    def reset_units(
        self,
        layer: int,
        units: Tensor,
        forget: str,
        *,
        purpose: str,
        chosen: Tensor | None = None,
        normalization: bool = True,
    ) -> None:
        """Reset the `units [R, K]` of a hidden layer: fresh weights in, bias 0, weights out 0, new normalization.

        forget: what the optimizer forgets about them (base.FORGET). chosen: bool `[R, K]`, which of `units` to reset;
        all by default. purpose: names the draws, one name per mechanism; unit k of each run takes the k-th part of
        them. normalization: False keeps the units' normalization.

        Reset layers from input to output: a weight between two reset units is as the later call leaves it.
        """
        group = self.network.units[layer]
        into, own, out = group.incoming(units), group.own(units), group.outgoing(units)
        fresh = self.fresh_weights(layer, group.weight[into].shape[1:], purpose)
        put(group.weight, into, fresh.to(group.weight), chosen)
        fill(group.bias, own, 0.0, chosen)
        fill(group.out, out, 0.0, chosen)
        places = [(group.weight, into), (group.bias, own), (group.out, out)]
        if normalization and self.network.normalization:
            self.network.normalization.reset(layer, own, chosen)
            places += [(parameter, own) for parameter in self.network.of_normalization[layer]]
        for parameter, where in places:
            self.optimizer.reset(parameter, where, forget, chosen)

    def fresh_weights(self, layer: int, shape: Sequence[int], purpose: str) -> Tensor:
        """Draw initial weights into units of a hidden layer: float64 `[R, *shape]`; `shape` is (count, ...)."""
        bound = self.network.units[layer].bound
        return self.draws.uniform(purpose, layer, shape).mul_(2 * bound).sub_(bound)
