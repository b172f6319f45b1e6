"""Plasticity metrics (paper, Methods): pure functions on activations and weights, one value per run.

Feature metrics take the activations of one hidden layer, `features [R, N, n]` (runs, probe examples, units), and return
`[R]`: a number of units. A configuration names them in `metrics.features`, a user's as `package.module.function`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

FeatureMetric = Callable[[Tensor], Tensor]
RANKS = ("effective_rank", "approximate_rank", "absolute_approximate_rank")


def dead_units(features: Tensor) -> Tensor:
    """Count units whose activation is 0 on every example: `[R, N, n]` -> `[R]` (paper: ReLU units that are off)."""
    return ((features.amax(dim=1) == 0) & (features.amin(dim=1) == 0)).sum(dim=1).double()


def dormant_units(features: Tensor, threshold: float = 0.01) -> Tensor:
    """Count units whose mean |activation| is at most `threshold` times their layer's mean: `[R, N, n]` -> `[R]`.

    Sokar et al. 2023, "The dormant neuron phenomenon", Definition 3.1.
    """
    activity = features.abs().mean(dim=1)
    return (activity <= threshold * activity.mean(dim=1, keepdim=True)).sum(dim=1).double()


def effective_rank(features: Tensor) -> Tensor:
    """exp of the entropy of the singular values, normalized to sum 1: `[R, N, n]` -> `[R]`, between 0 and n.

    Roy and Vetterli 2007; paper, Methods. A layer of zeros has rank 0.
    """
    return _per_run(features, _effective_rank)


def approximate_rank(features: Tensor, share: float = 0.99) -> Tensor:
    """Count the largest singular values needed for `share` of the sum of their squares: `[R, N, n]` -> `[R]`.

    Yang et al. 2019; paper, Extended Data.
    """
    return _per_run(features, lambda values: _count_to_share(values.square(), share))


def absolute_approximate_rank(features: Tensor, share: float = 0.99) -> Tensor:
    """Like approximate_rank, without the squares: `[R, N, n]` -> `[R]`."""
    return _per_run(features, lambda values: _count_to_share(values, share))


def weight_magnitude(weight: Tensor) -> Tensor:
    """Mean |w| over the weights of a layer, `[R, in, out]` (without biases): -> float64 `[R]`."""
    return weight.abs().flatten(1).mean(dim=1, dtype=torch.float64)


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values of `[N, n]` in float64, ascending, from the eigenvalues of the smaller Gram matrix.

    Several times faster than an SVD, but values below about 1e-7 of the largest are not resolved and are set to 0.
    Columns of zeros are left out.
    """
    tall = (matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T).double()
    gram = tall.T @ tall
    live = gram.diagonal() > 0
    if not live.any():
        return gram.new_zeros(1)
    eigenvalues = torch.linalg.eigvalsh(gram if live.all() else gram[live][:, live])
    noise = eigenvalues[-1] * torch.finfo(torch.float64).eps * len(eigenvalues)
    return torch.where(eigenvalues > noise, eigenvalues, 0.0).sqrt()


def _per_run(features: Tensor, rank_of: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([rank_of(singular_values(matrix)) for matrix in features])


def _effective_rank(values: Tensor) -> Tensor:
    p = values[values > 0]
    if len(p) == 0:
        return values.new_zeros(())
    p = p / p.sum()
    return (-(p * p.log()).sum()).exp()


def _count_to_share(values: Tensor, share: float) -> Tensor:
    held = values.flip(0).cumsum(0)
    return ((held < share * held[-1]).sum() + (held[-1] > 0)).double()
