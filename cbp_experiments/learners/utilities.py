"""Utilities of a unit at one update: those of the paper and its preprint, and of their ablations.

Each function takes a hidden layer's activations `h [R, B, n, P]` at P positions (P = 1 in a layer without positions),
their running mean `[R, n]`, and the mean |w| of each unit's incoming weights `[R, n]` and outgoing weights `[R, n, P]`.
It returns `[R, n]`, with 0 where it would divide by incoming weights that are all 0.
"""

from collections.abc import Callable

from torch import Tensor

from cbp_experiments.networks import along_units


def adaptable_contribution(h: Tensor, mean_activation: Tensor, incoming: Tensor, outgoing: Tensor) -> Tensor:
    return (weighted((h - along_units(mean_activation, h)).abs_(), outgoing) / incoming).where(incoming > 0, 0.0)


def contribution(h: Tensor, mean_activation: Tensor, incoming: Tensor, outgoing: Tensor) -> Tensor:
    return weighted(h.abs(), outgoing)


def adaptation(h: Tensor, mean_activation: Tensor, incoming: Tensor, outgoing: Tensor) -> Tensor:
    return (1 / incoming).where(incoming > 0, 0.0)


def weight(h: Tensor, mean_activation: Tensor, incoming: Tensor, outgoing: Tensor) -> Tensor:
    return outgoing.mean(dim=2)


def weighted(activity: Tensor, outgoing: Tensor) -> Tensor:
    """Mean of `activity [R, B, n, P]` over examples and positions, each position times its `outgoing`: `[R, n]`."""
    if outgoing.shape[2] == 1:
        return activity.mean(dim=(1, 3)) * outgoing.squeeze(2)
    return (activity.mean(dim=1) * outgoing).mean(dim=2)


UTILITIES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "adaptable_contribution": adaptable_contribution,
    "contribution": contribution,
    "adaptation": adaptation,
    "weight": weight,
    "random": weight,  # tracked, but units are ranked by random numbers drawn when one is due
}
