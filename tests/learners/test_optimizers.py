"""Optimizers with a leading run dimension against torch.optim on each run's parameters alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cbp_experiments.learners import Learner
from cbp_experiments.learners.optimizers import OPTIMIZERS, Optimizer

RUNS, UPDATES = 3, 50
SHAPES = [(4, 5), (5,)]
# Same operations in another order: a few roundings of float64 an update, 50 times.
RTOL, ATOL = 1e-12, 1e-14
KINDS: dict[str, tuple[dict[str, Any], Callable[[list[Tensor]], torch.optim.Optimizer]]] = {
    "sgd": ({}, lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": ({"momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "adam": ({"optimizer": "adam"}, lambda p: torch.optim.Adam(p, lr=0.1)),
    "adam, other betas": (
        {"optimizer": "adam", "beta1": 0.5, "beta2": 0.7, "epsilon": 0.1},
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.5, 0.7), eps=0.1),
    ),
    "adam, a count a weight": ({"optimizer": "adam", "replacement_rate": 0.1}, lambda p: torch.optim.Adam(p, lr=0.1)),
}


def build(parameters: list[Tensor], **keys: Any) -> Optimizer:
    learner = Learner(name="test", **({"step_size": 0.1} | keys))
    return OPTIMIZERS[learner.optimizer](learner, parameters)


def draw(seed: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(RUNS, *shape, dtype=torch.float64, generator=rng) for shape in SHAPES]


@pytest.mark.parametrize("kind", KINDS)
def test_each_run_moves_as_with_torch_optim(kind: str) -> None:
    keys, reference_of = KINDS[kind]
    parameters = draw(0)
    references = [[p[run].clone().requires_grad_() for p in parameters] for run in range(RUNS)]
    optimizers = [reference_of(reference) for reference in references]
    optimizer = build(parameters, **keys)
    for update in range(UPDATES):
        gradients = draw(1 + update)
        optimizer.update(parameters, [gradient.clone() for gradient in gradients])
        for run, (reference, reference_optimizer) in enumerate(zip(references, optimizers, strict=True)):
            for p, gradient in zip(reference, gradients, strict=True):
                p.grad = gradient[run]
            reference_optimizer.step()
    for run, reference in enumerate(references):
        for p, expected in zip(parameters, reference, strict=True):
            torch.testing.assert_close(p[run], expected.detach(), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_layout_changes_nothing(kind: str) -> None:
    """Filters of a convolution may lie channels last, and their gradients otherwise."""
    layouts = (torch.channels_last, torch.contiguous_format)
    moved = []
    for own, of_gradient in [(a, b) for a in layouts for b in layouts]:
        rng = torch.Generator().manual_seed(0)
        parameter, *gradients = (torch.randn(4, 3, 5, 5, generator=rng) for _ in range(4))
        parameters = [parameter.contiguous(memory_format=own).unsqueeze(0)]
        optimizer = build(parameters, **KINDS[kind][0])
        for gradient in gradients:
            optimizer.update(parameters, [gradient.contiguous(memory_format=of_gradient).unsqueeze(0)])
        moved.append(parameters[0])
    for other in moved[1:]:
        torch.testing.assert_close(other, moved[0])


ADAM: dict[str, Any] = {"optimizer": "adam"}
WHERE = (1, slice(None), 2)  # run 1, the incoming weights of unit 2


def after_a_reset(**keys: Any) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """20 updates, a reset at WHERE, 20 more: the parameters then, had there been no reset, and had it all begun there.

    All three are counted from the 20th update, so that only what the optimizer remembers makes them differ.
    """
    with_reset, without, fresh = ([torch.zeros_like(p) for p in draw(0)] for _ in range(3))
    optimizers = [build(p, **keys) for p in (with_reset, without, fresh)]
    for update in range(40):
        if update == 20:
            optimizers[0].reset(0, WHERE)
            for p in (*with_reset, *without):
                p.zero_()
        for optimizer, parameters in zip(optimizers, (with_reset, without, fresh), strict=True):
            if optimizer is not optimizers[2] or update >= 20:
                optimizer.update(parameters, draw(update))
    return with_reset, without, fresh


@pytest.mark.parametrize(
    "keys",
    [ADAM | {"replacement_rate": 0.1}, ADAM | {"mechanisms": {"mine": {}}}, {"momentum": 0.9, "reset_momentum": True}],
    ids=["adam", "adam and a mechanism of one's own", "momentum"],
)
def test_a_reset_weight_starts_afresh_and_no_other_does(keys: dict[str, Any]) -> None:
    with_reset, without, fresh = after_a_reset(**keys)
    torch.testing.assert_close(with_reset[0][WHERE], fresh[0][WHERE], rtol=RTOL, atol=ATOL)
    assert not torch.isclose(with_reset[0][WHERE], without[0][WHERE], rtol=1e-3, atol=0).any()
    with_reset[0][WHERE] = without[0][WHERE]
    for p, expected in zip(with_reset, without, strict=True):
        assert torch.equal(p, expected)


@pytest.mark.parametrize("keys", [{}, {"momentum": 0.9}], ids=["sgd", "momentum"])
def test_momentum_is_kept_unless_asked_otherwise(keys: dict[str, Any]) -> None:
    with_reset, without, _ = after_a_reset(**keys)
    for p, expected in zip(with_reset, without, strict=True):
        assert torch.equal(p, expected)


def test_state_has_a_leading_run_dimension() -> None:
    for keys, _ in KINDS.values():
        assert all(tensor.shape[0] == RUNS for tensor in build(draw(0), **keys).state.values())
    assert build(draw(0)).state == {}


def test_a_count_a_weight_is_kept_only_where_units_may_be_reset() -> None:
    """It rounds otherwise than one count a parameter, in the last bit: other learners keep their numbers."""
    assert build(draw(0), **ADAM).state["updates_0"].shape == (RUNS, 1, 1)
    resetting: list[dict[str, Any]] = [{"replacement_rate": 0.1}, {"mechanisms": {"mine": {}}}]
    for keys in resetting:
        assert build(draw(0), **ADAM, **keys).state["updates_0"].shape == (RUNS, *SHAPES[0])


@pytest.mark.parametrize("unit", [0, 3])
def test_where_no_mechanism_resets_units_a_reset_is_an_error(unit: int) -> None:
    """And not a reset of the whole layer's count."""
    optimizer = build(draw(0), **ADAM)
    with pytest.raises(RuntimeError, match="one count for all weights"):
        optimizer.reset(0, (1, slice(None), unit))
