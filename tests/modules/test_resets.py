"""What a replaced unit leaves behind, by hand: weights, normalization, state of the optimizer."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cbp_experiments as cbp

UNIT = 2  # the least useful one, because nothing reads it
Kept = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _the_same_initial_weights() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def network(normalization: nn.Module | None = None) -> nn.Sequential:
    layers = [nn.Linear(3, 4), normalization or nn.Identity(), nn.ReLU(), nn.Linear(4, 2)]
    return nn.Sequential(*layers)


def convolutions(normalization: nn.Module | None = None) -> nn.Sequential:
    """Six positions of each of four channels are inputs of the last layer."""
    layers = [nn.Conv2d(3, 4, 3), normalization or nn.Identity(), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4 * 6, 2))


def state_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> Kept:
    kept = dict(module.named_parameters()) | dict(module.named_buffers())
    for name, parameter in module.named_parameters():
        of_optimizer = optimizer.state[parameter]
        kept |= {f"{name} {key}": value for key, value in of_optimizer.items() if isinstance(value, Tensor)}
    return {name: tensor.detach().clone() for name, tensor in kept.items()}


def replace_one(
    module: nn.Sequential, optimizer: torch.optim.Optimizer, inputs: tuple[int, ...] = (5, 3), **keys: Any
) -> tuple[Kept, Kept]:
    """Three updates; the third replaces a unit. Returns all there is before it and after it."""
    rng = torch.Generator().manual_seed(1)
    read = module[-1].get_parameter("weight")
    read.data[:, UNIT * read.shape[1] // 4 : (UNIT + 1) * read.shape[1] // 4] = 1e-6
    replacer = cbp.UnitReplacer(
        module, optimizer, replacement_rate=0.25, maturity_threshold=2, decay_rate=0.5, utility="weight", **keys
    )
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.rand(inputs, generator=rng)).square().sum().backward()
        optimizer.step()
        before = state_of(module, optimizer)
        replacer.step()
    assert replacer.replaced == {"0": [UNIT]}
    return before, state_of(module, optimizer)


def check(before: Kept, after: Kept, expected: dict[str, tuple[Any, float]]) -> None:
    """Exactly the `expected` places changed: name -> (index, new value)."""
    for name, tensor in after.items():
        changed = before[name].clone()
        if name in expected:
            where, value = expected[name]
            changed[where] = value
        if name == "0.weight":  # drawn
            changed[UNIT] = tensor[UNIT]
        assert torch.equal(tensor, changed), name


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=1e-9, momentum=0.9)


OWN = (UNIT, 0.0)
OUT = ((slice(None), UNIT), 0.0)
PLAIN: dict[str, tuple[Any, float]] = {"0.bias": OWN, "3.weight": OUT}


def test_weights_in_are_new_and_weights_out_are_0() -> None:
    module = network()
    before, after = replace_one(module, sgd(module))
    check(before, after, PLAIN)
    fresh = after["0.weight"][UNIT]
    assert fresh.abs().max() <= 3**-0.5
    assert (fresh != before["0.weight"][UNIT]).all()


def test_all_positions_of_a_channel_go() -> None:
    module = convolutions()
    before, after = replace_one(module, sgd(module), (5, 3, 6, 8))
    check(before, after, {"0.bias": OWN, "5.weight": ((slice(None), slice(12, 18)), 0.0)})
    fresh = after["0.weight"][UNIT]
    assert 0 < fresh.abs().min() <= fresh.abs().max() <= 27**-0.5


def test_a_channel_that_a_convolution_reads() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    before, after = replace_one(module, sgd(module), (5, 3, 6, 8))
    check(before, after, {"0.bias": OWN, "2.weight": OUT})


def test_layers_without_bias() -> None:
    module = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    before, after = replace_one(module, sgd(module))
    check(before, after, {"2.weight": OUT})


STATISTICS: dict[str, tuple[Any, float]] = {
    "1.weight": (UNIT, 1.0),
    "1.bias": OWN,
    "1.running_mean": OWN,
    "1.running_var": (UNIT, 1.0),
}


@pytest.mark.parametrize("normalization", [nn.BatchNorm1d(4), nn.LayerNorm(4)], ids=["batch", "layer"])
def test_normalization_of_a_linear_layer(normalization: nn.Module) -> None:
    nn.init.constant_(normalization.get_parameter("weight"), 3.0)
    nn.init.constant_(normalization.get_parameter("bias"), 2.0)
    module = network(normalization)
    before, after = replace_one(module, sgd(module))
    check(before, after, PLAIN | STATISTICS)


@pytest.mark.parametrize("normalization", [nn.BatchNorm2d(4), nn.LayerNorm((4, 4, 6))], ids=["batch", "layer"])
def test_normalization_of_a_convolution(normalization: nn.Module) -> None:
    nn.init.constant_(normalization.get_parameter("weight"), 3.0)
    nn.init.constant_(normalization.get_parameter("bias"), 2.0)
    module = convolutions(normalization)
    before, after = replace_one(module, sgd(module), (5, 3, 6, 8))
    out = {"5.weight": ((slice(None), slice(12, 18)), 0.0)}
    check(before, after, {"0.bias": OWN} | out | STATISTICS)


@pytest.mark.parametrize("keys", [{"affine": False}, {"track_running_stats": False}])
def test_what_a_normalization_lacks_is_not_reset(keys: dict[str, bool]) -> None:
    module = network(nn.BatchNorm1d(4, **keys))
    before, after = replace_one(module, sgd(module))
    check(before, after, PLAIN | STATISTICS)


def test_a_normalization_may_be_kept() -> None:
    module = network(nn.BatchNorm1d(4))
    before, after = replace_one(module, sgd(module), reset_normalization=False)
    check(before, after, PLAIN)


def of_optimizer(*names: str) -> dict[str, tuple[Any, float]]:
    """The state of all that belongs to the unit, in a network with batch normalization."""
    places = {"0.weight": OWN, "0.bias": OWN, "1.weight": OWN, "1.bias": OWN, "3.weight": OUT}
    return {f"{parameter} {name}": where for parameter, where in places.items() for name in names}


MOMENTS = ("exp_avg", "exp_avg_sq")
ADAM, AMSGRAD, OURS = "torch.optim.Adam", "amsgrad", "cbp.Adam"
FORGOTTEN: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("SGD", {}, ()),
    ("SGD", {"reset_momentum": True}, ("momentum_buffer",)),
    ("SGD", {"optimizer_state": "moments"}, ("momentum_buffer",)),
    (ADAM, {}, MOMENTS),
    (ADAM, {"optimizer_state": "none"}, ()),
    (AMSGRAD, {}, (*MOMENTS, "max_exp_avg_sq")),
    ("torch.optim.AdamW", {}, MOMENTS),
    (OURS, {}, (*MOMENTS, "updates")),
    (OURS, {"optimizer_state": "moments"}, MOMENTS),
    (OURS, {"optimizer_state": "none"}, ()),
    ("RMSprop", {"optimizer_state": "none"}, ()),
]


@pytest.mark.parametrize(("kind", "keys", "names"), FORGOTTEN)
def test_what_the_optimizer_forgets(kind: str, keys: dict[str, Any], names: tuple[str, ...]) -> None:
    module = network(nn.BatchNorm1d(4))
    parameters = list(module.parameters())
    optimizer = {
        "SGD": lambda: sgd(module),
        ADAM: lambda: torch.optim.Adam(parameters, lr=1e-9),
        AMSGRAD: lambda: torch.optim.Adam(parameters, lr=1e-9, amsgrad=True),
        "torch.optim.AdamW": lambda: torch.optim.AdamW(parameters, lr=1e-9),
        OURS: lambda: cbp.Adam(parameters, lr=1e-9),
        "RMSprop": lambda: torch.optim.RMSprop(parameters, lr=1e-9),
    }[kind]()
    before, after = replace_one(module, optimizer, **keys)
    forgotten = of_optimizer(*names)
    assert all(before[name][where].any() for name, (where, _) in forgotten.items())
    check(before, after, PLAIN | STATISTICS | forgotten)
