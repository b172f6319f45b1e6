"""Optimizers with a leading run dimension against torch.optim on each run's parameters alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cbp_experiments.learners import Learner, Step
from cbp_experiments.learners.optimizers import OPTIMIZERS, Updater
from cbp_experiments.networks import MLP
from tests.problems import stacked

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
    "adamw": ({"optimizer": "adamw"}, lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0)),
}


def build(parameters: list[Tensor], **keys: Any) -> Updater:
    learner = Learner(name="test", **({"step_size": 0.1} | keys))
    forgets = {mechanism.forgets(learner.chosen_optimizer) for mechanism in learner.mechanisms}
    return learner.chosen_optimizer.updater(parameters, learner.step_size, "moments_and_count" in forgets)


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
        optimizer.update([gradient.clone() for gradient in gradients])
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
            optimizer.update([gradient.contiguous(memory_format=of_gradient).unsqueeze(0)])
        moved.append(parameters[0])
    for other in moved[1:]:
        torch.testing.assert_close(other, moved[0])


ADAM: dict[str, Any] = {"optimizer": "adam"}
WHERE = (1, slice(None), 2)  # run 1, the incoming weights of unit 2


def after_a_reset(forget: str, **keys: Any) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """20 updates, a reset at WHERE, 20 more: the parameters then, had there been no reset, and had it all begun there.

    All three are counted from the 20th update, so that only what the optimizer remembers makes them differ.
    """
    with_reset, without, fresh = ([torch.zeros_like(p) for p in draw(0)] for _ in range(3))
    optimizers = [build(p, **keys) for p in (with_reset, without, fresh)]
    for update in range(40):
        if update == 20:
            optimizers[0].reset(with_reset[0], WHERE, forget)
            for p in (*with_reset, *without):
                p.zero_()
        for optimizer in optimizers:
            if optimizer is not optimizers[2] or update >= 20:
                optimizer.update(draw(update))
    return with_reset, without, fresh


CBP_ADAM: dict[str, Any] = ADAM | {"replacement_rate": 0.1}
MOMENTUM: dict[str, Any] = {"momentum": 0.9}


@pytest.mark.parametrize(
    ("forget", "keys"), [("moments_and_count", CBP_ADAM), ("moments", MOMENTUM)], ids=["adam", "momentum"]
)
def test_a_reset_weight_starts_afresh_and_no_other_does(forget: str, keys: dict[str, Any]) -> None:
    with_reset, without, fresh = after_a_reset(forget, **keys)
    torch.testing.assert_close(with_reset[0][WHERE], fresh[0][WHERE], rtol=RTOL, atol=ATOL)
    assert not torch.isclose(with_reset[0][WHERE], without[0][WHERE], rtol=1e-3, atol=0).any()
    with_reset[0][WHERE] = without[0][WHERE]
    for p, expected in zip(with_reset, without, strict=True):
        assert torch.equal(p, expected)


@pytest.mark.parametrize("keys", [{}, MOMENTUM, CBP_ADAM], ids=["sgd", "momentum", "adam"])
def test_nothing_is_forgotten_unless_asked_for(keys: dict[str, Any]) -> None:
    with_reset, without, _ = after_a_reset("none", **keys)
    for p, expected in zip(with_reset, without, strict=True):
        assert torch.equal(p, expected)


@pytest.mark.parametrize("keys", [ADAM, CBP_ADAM], ids=["a count for all", "a count a weight"])
def test_adam_forgets_moments_and_goes_on_counting(keys: dict[str, Any]) -> None:
    """With constant gradients the first step after 1,000 is (1 - beta1) / sqrt(1 - beta2) times the step size."""
    parameters = draw(0)
    optimizer = build(parameters, **keys)
    ones = [torch.ones_like(p) for p in parameters]
    for _ in range(20_000):
        optimizer.update(ones)
    optimizer.reset(parameters[0], WHERE, "moments")
    before = parameters[0].clone()
    optimizer.update(ones)
    moved = before - parameters[0]
    expected = torch.full_like(moved, 0.1)
    expected[WHERE] = 0.1 * (1 - 0.9) / (1 - 0.999) ** 0.5  # 0.316: the bias correction is over
    torch.testing.assert_close(moved, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("keys", [CBP_ADAM, MOMENTUM], ids=["adam", "momentum"])
def test_of_the_units_that_are_named_only_the_chosen_are_forgotten(keys: dict[str, Any]) -> None:
    parameters = draw(0)
    optimizer = build(parameters, **keys)
    optimizer.update(draw(1))
    before = {name: kept.clone() for name, kept in optimizer.state.items()}
    runs, units = torch.arange(RUNS).unsqueeze(1), torch.tensor([[0, 3]] * RUNS)
    chosen = torch.tensor([[True, False], [False, False], [True, True]])
    optimizer.reset(parameters[0], (runs, slice(None), units), "moments", chosen)
    for name, kept in optimizer.state.items():
        forgotten = torch.zeros_like(kept, dtype=torch.bool)
        if name.endswith("_0") and "updates" not in name:
            for run, unit in ((0, 0), (2, 0), (2, 3)):
                forgotten[run, :, unit] = True
        assert torch.equal(kept, before[name].masked_fill(forgotten, 0.0)), name


def test_state_has_a_leading_run_dimension() -> None:
    for keys, _ in KINDS.values():
        assert all(tensor.shape[0] == RUNS for tensor in build(draw(0), **keys).state.values())
    assert build(draw(0)).state == {}


def test_a_count_a_weight_is_kept_only_where_counts_may_be_forgotten() -> None:
    """It rounds otherwise than one count a parameter, in the last bit: other learners keep their numbers."""
    assert build(draw(0), **ADAM).state["updates_0"].shape == (RUNS, 1, 1)
    assert build(draw(0), **CBP_ADAM).state["updates_0"].shape == (RUNS, *SHAPES[0])
    assert build(draw(0), **CBP_ADAM, optimizer_state="moments").state["updates_0"].shape == (RUNS, 1, 1)


@pytest.mark.parametrize("unit", [0, 3])
def test_where_there_is_one_count_for_all_it_cannot_be_forgotten(unit: int) -> None:
    """And is not, for the whole layer."""
    parameters = draw(0)
    optimizer = build(parameters, **ADAM)
    with pytest.raises(RuntimeError, match="there is one for all"):
        optimizer.reset(parameters[0], (1, slice(None), unit), "moments_and_count")


def test_every_optimizer_is_in_the_shared_tests() -> None:
    assert {keys.get("optimizer", "sgd") for keys, _ in KINDS.values()} == set(OPTIMIZERS)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_weight_decay_is_that_of_torch_optim(optimizer: str) -> None:
    """Part of the gradient, but with AdamW, which shrinks the weights themselves."""
    network = stacked(MLP(6, 1), [0], 5, 3)
    step = Step(Learner("test", 0.1, optimizer=optimizer, weight_decay=0.3), network)
    reference = [p[0].detach().clone().requires_grad_() for p in network.parameters]
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    theirs = kinds[optimizer](reference, lr=0.1, weight_decay=0.3)
    rng = torch.Generator().manual_seed(0)
    for _ in range(5):
        x, y = torch.rand(1, 4, 5, dtype=torch.float64, generator=rng), torch.randint(3, (1, 4), generator=rng)
        step(x, y)
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(
            torch.relu(x[0] @ reference[0] + reference[1]) @ reference[2] + reference[3], y[0]
        ).backward()
        theirs.step()
    for ours, expected in zip(network.parameters, reference, strict=True):
        torch.testing.assert_close(ours[0].detach(), expected.detach(), rtol=1e-10, atol=1e-13)
