"""The convolutional network: shapes, initial weights, and the stacked passes against torch.nn."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cbp_experiments.engines.shown import Shown, channels_last
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Learner, Step
from cbp_experiments.networks import ConvNet, StackedConvNet
from tests.problems import stacked

INPUTS, CLASSES = 3 * 32 * 32, 2
EXACT: dict[str, Any] = {
    "rtol": 1e-10,
    "atol": 1e-12,
}  # float64: sums of some hundred terms in another order, over a few layers


def stack(runs: int, width: int = 8) -> StackedConvNet:
    return stacked(ConvNet(width), range(runs), INPUTS, CLASSES)


def module(network: StackedConvNet, run: int) -> nn.Sequential:
    """The paper's network as a user of PyTorch would write it, with the parameters of one run."""
    a, b, c, d, e, f = (weight[run].shape for weight in network.weights)
    built = nn.Sequential(
        nn.Conv2d(3, a[0], 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(a[0], b[0], 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(b[0], c[0], 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(d[0], d[1]), nn.ReLU(), nn.Linear(e[0], e[1]), nn.ReLU(), nn.Linear(f[0], f[1]),
    ).double()  # fmt: skip
    for parameter, ours in zip(built.parameters(), network.parameters, strict=True):
        parameter.data = in_torch_s_order(ours[run].detach().clone())
    return built


def in_torch_s_order(parameter: Tensor) -> Tensor:
    return parameter.T if parameter.ndim == 2 else parameter


def test_the_paper_s_network() -> None:
    network = ConvNet()
    shapes = [(32, 3, 5, 5), (64, 32, 3, 3), (128, 64, 3, 3), (512, 128), (128, 128), (128, 2)]
    assert network.shapes(INPUTS, CLASSES) == shapes
    assert network.depth == 5
    assert network.describe(INPUTS, CLASSES) == "32x32x3, conv 5x5x32, conv 3x3x64, conv 3x3x128, 128, 128, 2, relu"
    assert network.weight_count(INPUTS, CLASSES) == 2400 + 18432 + 73728 + 65536 + 16384 + 256
    expected = [75**-0.5, 288**-0.5, 576**-0.5, 512**-0.5, 128**-0.5, 128**-0.5]
    assert network.bounds(INPUTS, CLASSES) == pytest.approx(expected, rel=1e-15)


def test_initial_parameters_fill_pytorch_s_default_range_and_are_keyed() -> None:
    network = ConvNet(64)
    weights, biases = network.initial_weights(0, INPUTS, CLASSES), network.initial_biases(0, INPUTS, CLASSES)
    for weight, bias, bound in zip(weights, biases, network.bounds(INPUTS, CLASSES), strict=True):
        for parameter in (weight, bias):
            assert np.abs(parameter).max() <= bound
        # the variance of so many uniform numbers is normal: 5 standard errors leave one chance in a million
        assert abs(weight.var() / (bound**2 / 3) - 1) < 5 * (0.8 / weight.size) ** 0.5
    for seed, same in ((0, True), (1, False)):
        again = [*network.initial_weights(seed, INPUTS, CLASSES), *network.initial_biases(seed, INPUTS, CLASSES)]
        assert all((a == b).all() == same for a, b in zip(again, [*weights, *biases], strict=True))


@pytest.mark.parametrize("runs", [1, 3])
def test_forward_is_that_of_torch_s_layers_for_each_run(runs: int) -> None:
    network = stack(runs)
    x = torch.rand(runs, 4, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits, hidden = network.forward(x)
    assert logits.shape == (runs, 4, CLASSES)
    assert [h.shape[2:] for h in hidden] == [(2, 14, 14), (4, 6, 6), (8, 2, 2), (8,), (8,)]
    for run in range(runs):
        layers = list(module(network, run))
        h = x[run].view(4, 3, 32, 32)
        seen = []
        for i, layer in enumerate(layers):
            h = layer(h)
            if isinstance(layer, nn.MaxPool2d) or (isinstance(layer, nn.ReLU) and i > 9):
                seen.append(h)
        torch.testing.assert_close(logits[run], h, **EXACT)
        for ours, theirs in zip(hidden, seen, strict=True):
            torch.testing.assert_close(ours[run], theirs, **EXACT)


@pytest.mark.parametrize("runs", [1, 3])
def test_updates_are_those_of_autograd_and_sgd(runs: int) -> None:
    network = stack(runs)
    references = [module(network, run) for run in range(runs)]
    sgds = [torch.optim.SGD(m.parameters(), 0.05, momentum=0.9, weight_decay=1e-3) for m in references]
    learner = Learner(name="l2", step_size=0.05, momentum=0.9, weight_decay=1e-3)
    step = Step(learner, network)
    draws = torch.Generator().manual_seed(1)
    for _ in range(5):
        x = torch.rand(runs, 6, INPUTS, dtype=torch.float64, generator=draws)
        y = torch.randint(0, 2, (runs, 6), generator=draws)
        losses, _ = step(x, y)
        for run, (reference, sgd) in enumerate(zip(references, sgds, strict=True)):
            loss = nn.functional.cross_entropy(reference(x[run].view(-1, 3, 32, 32)), y[run])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            torch.testing.assert_close(losses[run], loss.detach(), **EXACT)
    for run, reference in enumerate(references):
        for ours, theirs in zip(network.parameters, reference.parameters(), strict=True):
            torch.testing.assert_close(in_torch_s_order(ours[run].detach()), theirs.detach(), **EXACT)


@pytest.mark.parametrize("runs", [1, 3])
def test_images_may_lie_channels_last(runs: int) -> None:
    """As the engine shows them to a run that is alone."""
    network = stack(runs)
    images = torch.randint(0, 256, (10, INPUTS), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = torch.randint(0, 10, (runs, 4), generator=torch.Generator().manual_seed(1))
    begins = torch.zeros(runs, 1, dtype=torch.int64)
    expected = Shown(images, rows, begins, None, 1 / 255, torch.float64).inputs(rows)
    shown = Shown(channels_last(images, 3), rows, begins, None, 1 / 255, torch.float64, channels=3).inputs(rows)
    assert torch.equal(expected, images[rows].double() * (1 / 255))
    assert torch.equal(shown.flatten(2), expected)
    torch.testing.assert_close(network.forward(shown)[0], network.forward(expected)[0], **EXACT)


def test_a_new_head_is_0_and_leaves_the_rest() -> None:
    network = stack(2)
    before = [parameter.detach().clone() for parameter in network.parameters]
    network.new_head()
    for i, (parameter, was) in enumerate(zip(network.parameters, before, strict=True)):
        assert bool((parameter == (0 if i >= 10 else was)).all())


@pytest.mark.parametrize("width", [0, 6, -4])
def test_a_width_that_has_no_quarter_is_refused(width: int) -> None:
    with pytest.raises(ConfigError, match=f"must be a multiple of 4, got {width}"):
        ConvNet(width)


@pytest.mark.parametrize("inputs", [784, 3 * 31 * 32, 3 * 23 * 23])
def test_what_is_no_square_colour_image_is_refused(inputs: int) -> None:
    with pytest.raises(ConfigError, match=f"the data have {inputs} inputs; take network=mlp"):
        ConvNet().bounds(inputs, 2)


def test_the_smallest_images_leave_one_position() -> None:
    assert ConvNet().shapes(3 * 24 * 24, 2)[3] == (128, 128)
