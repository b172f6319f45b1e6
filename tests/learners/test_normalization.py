"""Batch normalization against torch.nn, online normalization against its equations by hand and finite differences."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cbp_experiments.learners import Learner, Step
from cbp_experiments.learners.normalizations import BatchNormalization, Normalizer, OnlineNormalization
from cbp_experiments.networks import MLP, Units
from tests.drawing import uniform
from tests.problems import stacked

INPUTS, CLASSES, WIDTH = 5, 3, 6


def step_of(runs: int = 1, activation: str = "relu", **keys: Any) -> Step:
    learner = Learner(name="test", **({"step_size": 0.1} | keys))
    step = Step(learner, stacked(MLP(WIDTH, 2, activation), range(runs), INPUTS, CLASSES))
    step.begin_task(range(runs))
    return step


def gains(step: Step) -> list[Tensor]:
    return [gain for (gain,) in step.network.of_normalization]


def batch(runs: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(runs, size, INPUTS, dtype=torch.float64, generator=rng)
    return x, torch.randint(CLASSES, (runs, size), generator=rng)


def assert_same(ours: Tensor, expected: Tensor) -> None:
    """float64: the same sums of a few terms in another order, through three layers and a few updates."""
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-14)


class Reference:
    """One run's network in modules of torch: its initial weights, normalized before the activation."""

    def __init__(self, step: Step, run: int):
        sizes = [tuple(weight.shape[1:]) for weight in step.network.weights]
        self.norms = [nn.BatchNorm1d(n, momentum=0.1, dtype=torch.float64) for _, n in sizes[:-1]]
        self.linears = [nn.Linear(a, b, bias=False, dtype=torch.float64) for a, b in sizes]
        self.bias = torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True)
        for linear, weight in zip(self.linears, step.network.weights, strict=True):
            linear.weight.data.copy_(weight[run].detach().T)

    def __call__(self, x: Tensor) -> Tensor:
        for linear, norm in zip(self.linears, self.norms, strict=False):
            x = torch.relu(norm(linear(x)))
        return self.linears[-1](x) + self.bias

    def parameters(self) -> list[Tensor]:
        return [self.bias, *(p for module in (*self.linears, *self.norms) for p in module.parameters())]


@pytest.mark.parametrize(
    ("keys", "settings"),
    [({}, {}), ({"weight_decay": 0.3, "momentum": 0.9}, {"weight_decay": 0.3, "momentum": 0.9})],
    ids=["sgd", "momentum and decay"],
)
def test_batch_normalization_is_torch_s(keys: dict[str, Any], settings: dict[str, Any]) -> None:
    """Whole updates of a network for each run: losses, parameters and running statistics, then the bare network."""
    runs, size = 2, 4
    step = step_of(runs, normalization="batch", normalization_decay=0.9, **keys)
    normalization = step.network.normalization
    assert normalization is not None
    references = [Reference(step, run) for run in range(runs)]
    optimizers = [torch.optim.SGD(reference.parameters(), lr=0.1, **settings) for reference in references]
    for update in range(6):
        x, y = batch(runs, size, seed=update)
        losses, _ = step(x, y)
        for run, (reference, optimizer) in enumerate(zip(references, optimizers, strict=True)):
            loss = F.cross_entropy(reference(x[run]), y[run])
            assert_same(losses[run], loss.detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for run, reference in enumerate(references):
        for layer, norm in enumerate(reference.norms):
            pairs = [
                (step.network.weights[layer], reference.linears[layer].weight.T),
                (step.network.biases[layer], norm.bias),
                (step.network.of_normalization[layer][0], norm.weight),
                (normalization.state[f"mean_{layer}"], norm.running_mean),
                (normalization.state[f"variance_{layer}"], norm.running_var),
            ]
            for ours, expected in pairs:
                assert expected is not None
                assert_same(ours[run].detach(), expected.detach())
            norm.eval()
        with torch.no_grad():
            logits, _ = step.network.forward(batch(runs, size)[0])
            assert_same(logits[run], reference(batch(runs, size)[0][run]))


def units_of(runs: int, count: int) -> list[Units]:
    """A hidden layer without inputs."""
    bias = torch.zeros(runs, count, dtype=torch.float64)
    return [Units(torch.zeros(runs, 0, count), bias, torch.zeros(runs, count, 1), bound=1.0)]


def test_a_channel_s_statistics_run_over_batch_and_positions() -> None:
    """Weighted sums [R, B, channels, height, width]: torch.nn.BatchNorm2d on each run."""
    normalization = BatchNormalization(0.9, 1e-5).normalizer(units_of(2, 3))
    x = torch.randn(2, 4, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for learning in (True, False):
        y = normalization(0, x, torch.zeros(2, 3, dtype=torch.float64), learning)
        for run in range(2):
            reference = nn.BatchNorm2d(3, dtype=torch.float64)
            expected = reference(x[run])
            if not learning:
                expected = reference.eval()(x[run])
            assert_same(y[run], expected)


def online(a: float = 0.9, b: float = 0.8, runs: int = 1, units: int = 3, epsilon: float = 1e-5) -> Normalizer:
    return OnlineNormalization(a, b, epsilon).normalizer(units_of(runs, units))


def passes(normalization: Normalizer, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """N(x) and the gradient of `x`, when that of N(x) is `gradient`."""
    x = x.clone().requires_grad_()
    y = normalization(0, x, torch.zeros(x.shape[0], x.shape[2], dtype=x.dtype), learning=True)
    return y.detach(), torch.autograd.grad(y, x, gradient)[0]


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_online_normalization_follows_its_equations() -> None:
    """Forward statistics and backward control of 20 single examples, one unit at a time in plain numbers."""
    a, b, eps = 0.9, 0.8, 1e-5
    normalization = online(a, b, runs=2, epsilon=eps)
    x, gradient = 1 + 2 * draws(20, 2, 3), draws(20, 2, 3, seed=1)
    got = [passes(normalization, x[t].unsqueeze(1), gradient[t].unsqueeze(1)) for t in range(20)]
    for run in range(2):
        for unit in range(3):
            mean, variance, error_y, error_1 = 0.0, 1.0, 0.0, 0.0
            for t in range(20):
                now, g = x[t, run, unit].item(), gradient[t, run, unit].item()
                sigma = (variance + eps) ** 0.5
                y = (now - mean) / sigma
                variance = a * variance + a * (1 - a) * (now - mean) ** 2
                mean = a * mean + (1 - a) * now
                along_y = g - (1 - b) * error_y * y
                error_y += along_y * y
                back = along_y / sigma - (1 - b) * error_1
                error_1 += back
                assert got[t][0][run, 0, unit].item() == pytest.approx(y, rel=1e-12)
                assert got[t][1][run, 0, unit].item() == pytest.approx(back, rel=1e-10)
            for name, value in [("mean", mean), ("variance", variance), ("error_y", error_y), ("error_1", error_1)]:
                assert normalization.state[f"{name}_0"][run, unit].item() == pytest.approx(value, rel=1e-11), name


def test_control_makes_the_gradient_orthogonal_to_1_and_y_on_average() -> None:
    """Gradients g = 1 + 2 y + noise of 100 units: their means along 1 and y, nearly all of which is to go.

    The errors are sums of what is left, so what is left in T updates is a difference of two errors over T: they settle
    within 1 / (1 - alpha_b) = 100 updates and then fluctuate by about sqrt(100 / 2) noises, 0.4 % of T = 2000.
    """
    steps, units = 3000, 100
    normalization, sigma = online(0.99, 0.99, units=units), 2.0
    x, noise = 3 + sigma * draws(steps, units), draws(steps, units, seed=1)
    gradients, ys, left = (torch.zeros(steps, units, dtype=torch.float64) for _ in range(3))
    for t in range(steps):
        mean, variance = normalization.state["mean_0"][0], normalization.state["variance_0"][0]
        ys[t] = (x[t] - mean) / (variance + 1e-5).sqrt()
        gradients[t] = 1 + 2 * ys[t] + noise[t]
        left[t] = passes(normalization, x[t].view(1, 1, -1), gradients[t].view(1, 1, -1))[1][0, 0]
    gradients, ys, left = gradients[1000:], ys[1000:], left[1000:]
    assert gradients.mean(dim=0).min() > 0.5
    assert (gradients * ys).mean(dim=0).min() > 1.5
    assert left.mean(dim=0).abs().max() < 0.02
    assert abs((left * ys).mean()) < 0.02  # along y only before the division by a sigma that follows the data
    assert left.std().item() == pytest.approx(noise.std().item() / sigma, rel=0.1)  # the rest passes


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_first_gradient_is_the_slope_with_the_statistics_held(activation: str) -> None:
    """Nothing is left over yet that control could take off: finite differences of the loss in every parameter."""
    step = step_of(activation=activation, normalization="online")
    parameters, (x, y) = step.network.parameters, batch(1, 1)
    with torch.no_grad():
        rng = torch.Generator().manual_seed(1)
        for p in [*step.network.biases, *gains(step)]:
            p += 0.2 * torch.randn(p.shape, dtype=p.dtype, generator=rng)
        assert step.network.normalization is not None
        for name, state in step.network.normalization.state.items():
            if name.startswith(("mean", "variance")):
                state += torch.rand(state.shape, dtype=p.dtype, generator=rng)

    def loss() -> float:
        with torch.no_grad():
            logits, _ = step.network.forward(x)
            return F.cross_entropy(logits[0], y[0]).item()

    before, width = [p.detach().clone() for p in parameters], 1e-6
    slopes = []
    for p in parameters:
        flat, slope = p.detach().view(-1), torch.zeros(p.numel(), dtype=p.dtype)
        for i in range(p.numel()):
            middle = flat[i].item()
            ends = []
            for value in (middle - width, middle + width):
                flat[i] = value
                ends.append(loss())
            flat[i] = middle
            slope[i] = (ends[1] - ends[0]) / (2 * width)
        slopes.append(slope.view_as(p))
    step(x, y)
    assert len(parameters) == 8
    for p, start, slope in zip(parameters, before, slopes, strict=True):
        # central differences: 1e-12 by the third derivative, 1e-16 / 1e-6 by rounding; and / 0.1, the step size
        torch.testing.assert_close((start - p.detach()) / 0.1, slope, rtol=0, atol=1e-8)
        assert slope.abs().max() > 1e-4


def test_a_minibatch_of_copies_is_one_example() -> None:
    one, copies = online(runs=2), online(runs=2)
    for t in range(10):
        x, gradient = draws(2, 1, 3, seed=t), draws(2, 1, 3, seed=100 + t)
        y, back = passes(one, x, gradient)
        y4, back4 = passes(copies, x.repeat(1, 4, 1), gradient.repeat(1, 4, 1) / 4)  # of a mean over four
        assert_same(y4, y.repeat(1, 4, 1))
        assert_same(4 * back4, back.repeat(1, 4, 1))
    for name, state in one.state.items():
        assert_same(copies.state[name], state)


def test_the_spread_within_a_minibatch_counts() -> None:
    """variance <- a variance + (1 - a) (variance of the mini-batch) + a (1 - a) (its mean - mean)^2."""
    normalization, x = online(a=0.9), 5 + draws(1, 8, 3)
    passes(normalization, x, torch.zeros_like(x))
    values = x[0].numpy()
    expected = 0.9 + 0.1 * values.var(axis=0) + 0.9 * 0.1 * values.mean(axis=0) ** 2
    np.testing.assert_allclose(normalization.state["variance_0"][0].numpy(), expected, rtol=1e-13)
    np.testing.assert_allclose(normalization.state["mean_0"][0].numpy(), 0.1 * values.mean(axis=0), rtol=1e-13)


def test_positions_of_a_channel_are_averaged_as_examples_are() -> None:
    flat, images = online(), online()
    for t in range(5):
        x, gradient = draws(1, 4, 3, 2, 5, seed=t), draws(1, 4, 3, 2, 5, seed=100 + t)
        y, back = passes(images, x, gradient)
        y_flat, back_flat = passes(flat, positions_as_examples(x), positions_as_examples(gradient))
        assert_same(positions_as_examples(y), y_flat)
        assert_same(positions_as_examples(back), back_flat)


def positions_as_examples(x: Tensor) -> Tensor:
    """`[R, B, channels, height, width]` -> `[R, B height width, channels]`."""
    return x.movedim(2, -1).flatten(1, 3)


@pytest.mark.parametrize(("kind", "size"), [("batch", 4), ("online", 1)])
def test_the_bare_network_uses_the_statistics_so_far_and_leaves_them(kind: str, size: int) -> None:
    step = step_of(normalization=kind)
    for update in range(5):
        step(*batch(1, size, seed=update))
    assert step.network.normalization is not None
    state = {name: tensor.clone() for name, tensor in step.network.normalization.state.items()}
    x = batch(1, 7)[0]
    with torch.no_grad():
        _, hidden = step.network.forward(x)
    expected = x
    for layer, h in enumerate(hidden):
        sums = expected @ step.network.weights[layer].detach()
        y = (sums - state[f"mean_{layer}"]) / (state[f"variance_{layer}"] + 1e-5).sqrt()
        expected = torch.relu(
            step.network.of_normalization[layer][0].detach() * y + step.network.biases[layer].detach()
        )
        assert_same(h, expected)
        assert (state[f"mean_{layer}"] != 0).all()
    for name, tensor in step.network.normalization.state.items():
        assert torch.equal(tensor, state[name])


def test_gains_are_parameters_like_the_others() -> None:
    """Perturbed and shrunk with the rest, after which come the gains in the order of the layers."""
    step = step_of(normalization="online")
    network = step.network
    assert [tuple(p.shape) for p in network.parameters[6:]] == [(1, WIDTH), (1, WIDTH)]
    assert all(p is gain for p, gain in zip(network.parameters[6:], gains(step), strict=True))
    noisy, still = (step_of(normalization="online", step_size=1e-12, perturbation_std=std) for std in (0.1, 0.0))
    for step in (noisy, still):
        step(*batch(1, 1))
    for gain, before in zip(gains(noisy), gains(still), strict=True):
        moved = (gain - before).detach()
        assert (moved != 0).all()
        assert moved.abs().max() < 0.5  # 5 standard deviations


def test_dropout_s_gradient_is_that_of_its_mask() -> None:
    """The mask comes from the run's draws; with it, a plain network in torch makes the same update."""
    step, (x, y) = step_of(dropout=0.4), batch(1, 3)
    parameters = [p[0].detach().clone().requires_grad_() for p in step.network.parameters]
    draws = [uniform(0, 1, "dropout", layer, 3 * WIDTH).reshape(3, WIDTH) for layer in range(2)]
    masks = [torch.from_numpy((drawn >= 0.4) / 0.6) for drawn in draws]
    assert all(0 < (mask == 0).sum() < mask.numel() for mask in masks)
    h = x[0]
    for layer, mask in enumerate(masks):
        h = torch.relu(h @ parameters[2 * layer] + parameters[2 * layer + 1]) * mask
    loss = F.cross_entropy(h @ parameters[4] + parameters[5], y[0])
    loss.backward()
    losses, _ = step(x, y)
    assert_same(losses[0], loss.detach())
    torch.optim.SGD(parameters, lr=0.1).step()
    for ours, expected in zip(step.network.parameters, parameters, strict=True):
        assert_same(ours[0].detach(), expected.detach())
