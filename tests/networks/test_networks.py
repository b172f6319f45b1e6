"""Networks: sizes, initial weights, and the stacked forward pass against torch.nn."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cbp_experiments.errors import ConfigError
from cbp_experiments.networks import MLP
from tests.problems import stacked

MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def test_paper_network_has_the_paper_s_bounds() -> None:
    """sqrt(6 / fan_in) in hidden layers, sqrt(3 / fan_in) in the last."""
    network = MLP()
    assert network.sizes(784, 10) == [784, 2000, 2000, 2000, 10]
    expected = [(6 / 784) ** 0.5, (6 / 2000) ** 0.5, (6 / 2000) ** 0.5, (3 / 2000) ** 0.5]
    assert network.bounds(784, 10) == pytest.approx(expected, rel=1e-15)


def test_depth_0_is_a_linear_learner() -> None:
    assert MLP(depth=0).sizes(784, 10) == [784, 10]
    assert MLP(depth=0).bounds(784, 10) == pytest.approx([(3 / 784) ** 0.5], rel=1e-15)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid"])
def test_hidden_bounds_use_pytorch_s_gains(activation: str) -> None:
    gain = nn.init.calculate_gain(activation)  # type: ignore[arg-type]
    hidden, last = MLP(50, 1, activation).bounds(12, 5)
    assert hidden == pytest.approx(gain * (3 / 12) ** 0.5, rel=1e-15)
    assert last == pytest.approx((3 / 50) ** 0.5, rel=1e-15)


def test_initial_weights_fill_their_range_evenly() -> None:
    network = MLP(100, 2)
    for weight, bound in zip(network.initial_weights(0, 60, 10), network.bounds(60, 10), strict=True):
        assert weight.dtype == np.float64
        assert np.abs(weight).max() <= bound
        # the mean and variance of so many uniform numbers are normal: 5 standard errors leave one chance in a million
        n = weight.size
        assert abs(weight.mean()) < 5 * bound / (3 * n) ** 0.5
        assert abs(weight.var() / (bound**2 / 3) - 1) < 5 * (0.8 / n) ** 0.5


def test_initial_weights_are_keyed_by_the_seed_and_the_layer() -> None:
    weights = MLP(20, 2).initial_weights(3, 20, 20)
    for again, weight in zip(MLP(20, 2).initial_weights(3, 20, 20), weights, strict=True):
        np.testing.assert_array_equal(again, weight)
    draws = [weight / np.abs(weight).max() for seed in (3, 4) for weight in MLP(20, 2).initial_weights(seed, 20, 20)]
    assert len({draw.tobytes() for draw in draws}) == 6
    np.testing.assert_array_equal(MLP(20, 4).initial_weights(3, 20, 10)[0], weights[0])


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("activation", MODULES)
def test_forward_is_that_of_a_sequential_network_for_each_run(activation: str, depth: int) -> None:
    network = MLP(7, depth, activation)
    stack = stacked(network, (0, 1, 2), 5, 3)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for bias in stack.biases:
            assert (bias == 0).all()
            bias.normal_(generator=rng)
    x = torch.randn(3, 4, 5, dtype=torch.float64, generator=rng)
    logits, hidden = stack.forward(x)
    assert logits.shape == (3, 4, 3)
    assert [h.shape for h in hidden] == [(3, 4, 7)] * depth
    for run in range(3):
        expected = x[run]
        for layer, (weight, bias) in enumerate(zip(stack.weights, stack.biases, strict=True)):
            inputs, outputs = weight[run].shape
            linear = nn.Linear(inputs, outputs, dtype=torch.float64)
            linear.load_state_dict({"weight": weight[run].detach().T, "bias": bias[run].detach()})
            expected = linear(expected)
            if layer < depth:
                expected = MODULES[activation]()(expected)
                # float64: sums of 7 terms, differently ordered, over a few layers
                torch.testing.assert_close(hidden[layer][run], expected, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(logits[run], expected, rtol=1e-12, atol=1e-14)


def test_parameters_come_in_pairs() -> None:
    stack = stacked(MLP(7, 2), [0], 5, 3, torch.float32)
    assert [tuple(p.shape) for p in stack.parameters] == [
        *((1, 5, 7), (1, 7)),
        *((1, 7, 7), (1, 7)),
        *((1, 7, 3), (1, 3)),
    ]
    assert all(p.dtype == torch.float32 and p.requires_grad for p in stack.parameters)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"width": 0}, "network.width must be at least 1, got 0"),
        ({"depth": -1}, "network.depth must be 0 \\(a linear learner\\) or more, got -1"),
        ({"activation": "nosuch.step"}, "network.activation=nosuch.step cannot be used: .*nosuch.*"),
        ({"activation": "math.pi"}, "network.activation=math.pi cannot be used: 'float' object is not callable"),
        ({"activation": "torch.sum"}, "network.activation=torch.sum must give as many numbers as it takes.*"),
        (
            {"activation": "step"},
            "network.activation must be one of relu, .*, or your own as package.module.function, got 'step'",
        ),
    ],
)
def test_bad_values_are_named_as_the_user_typed_them(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MLP(**keys)
