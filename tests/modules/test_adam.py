"""cbp.Adam against torch's, as long as no unit is replaced."""

from typing import Any

import pytest
import torch
from torch import nn

import cbp_experiments as cbp
from cbp_experiments.errors import ConfigError

TORCH: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any], dict[str, Any]]] = {
    "Adam": (torch.optim.Adam, {}, {}),
    "other values": (torch.optim.Adam, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 0.1}, {}),
    "weight decay": (torch.optim.Adam, {"weight_decay": 0.3}, {}),
    "AdamW": (torch.optim.AdamW, {"weight_decay": 0.3}, {"decoupled_weight_decay": True}),
}


@pytest.mark.parametrize("kind", TORCH)
def test_it_makes_the_steps_of_torch(kind: str) -> None:
    reference, common, own = TORCH[kind]
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(4, 5, dtype=torch.float64, generator=rng)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = cbp.Adam([ours], **common, **own), reference([theirs], **common)
    for _ in range(50):
        ours.grad = torch.randn(4, 5, dtype=torch.float64, generator=rng)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_groups_of_parameters_have_their_own_step_size() -> None:
    """Adam's first step is +-lr, if epsilon is small."""
    slow, fast, unused = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    optimizer = cbp.Adam([{"params": [slow, unused]}, {"params": [fast], "lr": 0.5}], lr=0.125)
    slow.grad = torch.tensor([2.0, -3.0])
    fast.grad = torch.tensor([-2.0, 1.0])
    optimizer.step()
    torch.testing.assert_close(slow.detach(), torch.tensor([-0.125, 0.125]))
    torch.testing.assert_close(fast.detach(), torch.tensor([0.5, -0.5]))
    assert unused.eq(0).all()


def test_a_closure_gives_the_loss() -> None:
    parameter = nn.Parameter(torch.tensor(2.0))
    optimizer = cbp.Adam([parameter], lr=0.5)

    def closure() -> float:
        optimizer.zero_grad()
        loss = parameter.square()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    torch.testing.assert_close(parameter.detach(), torch.tensor(1.5))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"lr": -1.0}, "lr must be 0 or more, got -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay must be 0 or more, got nan"),
        ({"betas": (0.9, 1.0)}, "beta2 must be at least 0 and below 1, got 1.0"),
        ({"eps": 0.0}, "epsilon must be a positive number, got 0.0"),
    ],
)
def test_bad_values_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        cbp.Adam([nn.Parameter(torch.zeros(1))], **bad)
    assert str(refused.value) == message
