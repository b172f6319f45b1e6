"""Unit replacement on convolutions, worked out by hand. (tests/test_golden.py holds it to the recorded run.)"""

from typing import Any

import numpy as np
import pytest
import torch

from cbp_experiments.learners import Learner, Step
from cbp_experiments.learners.replacement import Replacing
from cbp_experiments.networks import ConvNet, StackedConvNet
from tests.drawing import uniform
from tests.problems import stacked
from tests.recording import replacements

INPUTS, WIDTH = 3 * 32 * 32, 8
NETWORK = ConvNet(WIDTH)
BOUNDS = NETWORK.bounds(INPUTS, 2)
UNITS = [2, 4, 8, 8, 8]


class Trial:
    """Updates of one learner on random images."""

    def __init__(self, runs: int = 1, **keys: Any):
        self.network: StackedConvNet = stacked(NETWORK, range(runs), INPUTS, 2)
        learner = Learner(name="cbp", **({"step_size": 0.05, "replacement_rate": 0.25, "decay_rate": 0.9} | keys))
        self.step: Step = Step(learner, self.network)
        self.step.begin_task(range(runs))
        self.replacement = next(actor for actor in self.step.actors if isinstance(actor, Replacing))
        self.data = np.random.default_rng(9)
        self.runs = runs

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.from_numpy(self.data.random((self.runs, 3, INPUTS)))
        return x, torch.from_numpy(self.data.integers(0, 2, (self.runs, 3)))

    def update(self) -> list[tuple[int, int, int]]:
        self.step(*self.batch())
        return replacements(self.replacement)


def out_of(network: StackedConvNet, run: int, layer: int, unit: int) -> torch.Tensor:
    """The weights out of a unit, written down layer by layer."""
    weight = network.weights[layer + 1][run]
    if layer < 2:
        return weight[:, unit]
    return weight[4 * unit : 4 * unit + 4] if layer == 2 else weight[unit]


def into(network: StackedConvNet, run: int, layer: int, unit: int) -> torch.Tensor:
    weight = network.weights[layer][run]
    return weight[unit] if layer < 3 else weight[:, unit]


def test_a_replaced_filter_is_new_and_silent() -> None:
    """Two runs, every layer: fresh incoming weights in draws of the run's own, bias 0, nothing goes out."""
    trial = Trial(runs=2, maturity_threshold=3, replacement_rate=0.125, momentum=0.9, reset_momentum=True)
    due = {layer for layer, units in enumerate(UNITS) if units == 8}
    for _ in range(3):
        assert trial.update() == []
    before = [parameter.detach().clone() for parameter in trial.network.parameters]
    events = trial.update()
    assert {layer for _, layer, _ in events} == due  # of 8 units an eighth is one
    for run, layer, unit in events:
        weights = into(trial.network, run, layer, unit).detach().numpy()
        fresh = uniform(run, 4, "replacement", layer, weights.size) * (2 * BOUNDS[layer]) - BOUNDS[layer]
        np.testing.assert_array_equal(weights.ravel(), fresh)
        assert trial.network.biases[layer][run, unit] == 0
        following = [u for r, other, u in events if (r, other) == (run, layer + 1)]
        silent = out_of(trial.network, run, layer, unit)
        kept = [u for u in range(silent.shape[-1]) if layer < 2 or u not in following]
        assert (silent[..., kept] == 0).all()
        for name in ("utility", "mean_activation", "age"):
            assert trial.replacement.state[f"{name}_{layer}"][run, unit] == 0
    for layer in due:
        moved = trial.network.weights[layer] != before[2 * layer]
        assert moved.any()
    velocity = trial.step.optimizer.state
    run, layer, unit = events[0]
    assert layer == 2
    assert (velocity["velocity_4"][run, unit] == 0).all()
    assert (velocity["velocity_6"][run, 4 * unit : 4 * unit + 4] == 0).all()
    assert (velocity["velocity_4"][run] != 0).any()


def test_a_filter_of_a_middle_layer_goes_with_its_kernels() -> None:
    trial = Trial(maturity_threshold=0, replacement_rate=0.5)
    [*events] = trial.update()
    layers = [layer for _, layer, _ in events]
    assert layers == sorted(layers)
    assert [layers.count(layer) for layer in range(5)] == [1, 2, 4, 4, 4]
    for _, layer, unit in events:
        if layer < 2:
            following = [u for _, other, u in events if other == layer + 1]
            outgoing = out_of(trial.network, 0, layer, unit)
            assert (outgoing[[u for u in range(UNITS[layer + 1]) if u not in following]] == 0).all()
            assert (outgoing[following] != 0).all()  # fresh weights of the later layer


def test_all_units_count_once_one_is_mature() -> None:
    """Rate 1/16, 8 units: half a unit an update from update 4 on, also while the replaced ones are immature."""
    trial = Trial(maturity_threshold=3, replacement_rate=1 / 16)
    counts = [sum(layer == 3 for _, layer, _ in trial.update()) for _ in range(10)]
    assert counts == [0, 0, 0, 0, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("utility", ["adaptable_contribution", "contribution", "adaptation", "weight"])
def test_utilities_are_those_of_the_paper(utility: str) -> None:
    """Unit by unit, with the weights after the update; the last filters' four inputs are averaged."""
    trial = Trial(runs=2, utility=utility, maturity_threshold=100)
    f, u = np.zeros((2, 5, 8)), np.zeros((2, 5, 8))
    for age in (1, 2, 3):
        x, y = trial.batch()
        with torch.no_grad():
            _, hidden = trial.network.forward(x)
        trial.step(x, y)
        for run, layer, unit in ((r, i, n) for r in range(2) for i, units in enumerate(UNITS) for n in range(units)):
            h = hidden[layer][run, :, unit].reshape(3, -1).numpy()
            incoming = into(trial.network, run, layer, unit).detach().abs().mean().item()
            outgoing = out_of(trial.network, run, layer, unit).detach().abs()
            by_input = outgoing.mean(dim=1).numpy() if layer == 2 else np.full(h.shape[1], outgoing.mean().item())
            f[run, layer, unit] = 0.9 * f[run, layer, unit] + 0.1 * h.mean()
            f_hat = f[run, layer, unit] / (1 - 0.9**age)
            new = {
                "adaptable_contribution": np.mean(np.abs(h - f_hat).mean(axis=0) * by_input) / incoming,
                "contribution": np.mean(np.abs(h).mean(axis=0) * by_input),
                "adaptation": 1 / incoming,
                "weight": by_input.mean(),
            }[utility]
            u[run, layer, unit] = 0.9 * u[run, layer, unit] + 0.1 * new
    for layer, units in enumerate(UNITS):
        # float64: means of some hundred terms in another order; |h - f_hat| may cancel a digit or two
        for name, expected in (("utility", u), ("mean_activation", f)):
            ours = trial.replacement.state[f"{name}_{layer}"].numpy()
            np.testing.assert_allclose(ours, expected[:, layer, :units], rtol=1e-11, err_msg=f"{name} {layer}")
