"""Unit replacement against what the algorithm says, worked out by hand."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from cbp_experiments.learners import Learner, Step
from cbp_experiments.learners.normalizations import Normalizer
from cbp_experiments.learners.replacement import Replacing
from cbp_experiments.networks import MLP, StackedMLP
from tests.drawing import uniform
from tests.problems import stacked
from tests.recording import replacements

INPUTS, CLASSES = 3, 2


class Trial:
    """One learner on one network, with what its unit replacement keeps at hand."""

    def __init__(self, width: int = 4, depth: int = 2, runs: int = 1, activation: str = "elu", **keys: Any):
        self.runs = runs
        network = MLP(width, depth, activation)
        self.bounds = network.bounds(INPUTS, CLASSES)
        self.network: StackedMLP = stacked(network, range(runs), INPUTS, CLASSES)
        learner = Learner(name="cbp", **({"step_size": 0.01, "replacement_rate": 0.25, "decay_rate": 0.9} | keys))
        self.step: Step = Step(learner, self.network)
        self.begin()
        [actor] = self.step.actors
        assert isinstance(actor, Replacing)
        self.replacement = actor
        self.data = np.random.default_rng(99)

    def begin(self) -> None:
        """A task, whose key is the run's number."""
        self.step.begin_task(range(self.runs))

    def update(self, size: int = 1) -> list[tuple[int, int, int]]:
        """One update on random data: the replacements (run, layer, unit)."""
        x = torch.from_numpy(self.data.random((self.runs, size, INPUTS)))
        self.step(x, torch.from_numpy(self.data.integers(0, CLASSES, (self.runs, size))))
        return replacements(self.replacement)

    def weight(self, layer: int, run: int = 0) -> np.ndarray:
        return self.network.weights[layer][run].detach().numpy()

    def state(self, name: str, run: int = 0) -> np.ndarray:
        return self.replacement.state[name][run].numpy()


def test_units_are_counted_by_the_accumulator() -> None:
    """Width 4, rate 1/4: at age 4 > 3 each update adds a quarter unit for each mature one.

    Update 4: 4 mature, 1 due. 5, 6: 3 mature, 0.75, then 1.5: 1 due, 0.5 left. 7: 2 mature, 1: due. 8: the one of
    update 4 is mature again, 2 mature: 0.5. 9: 2: 1: due. The layers do the same.
    """
    trial = Trial(maturity_threshold=3)
    counts = [Counter(layer for _, layer, _ in trial.update()) for _ in range(9)]
    assert [count[0] for count in counts] == [count[1] for count in counts] == [0, 0, 0, 1, 0, 1, 1, 0, 1]
    assert trial.state("to_replace").tolist() == [0, 0]


def test_no_unit_goes_before_it_is_mature() -> None:
    trial = Trial(width=6, maturity_threshold=7, replacement_rate=1.0)
    born = np.zeros((2, 6), int)
    for update in range(1, 50):
        for _, layer, unit in trial.update():
            assert update - born[layer, unit] == 8
            born[layer, unit] = update
    assert (born == 48).all()


def test_the_least_useful_of_the_mature_units_go_in_order() -> None:
    trial = Trial(width=8, depth=1, maturity_threshold=5, replacement_rate=0.3)
    checked = 0
    for _ in range(60):
        age, mature_before = trial.state("age_0").copy(), trial.state("age_0") >= 5
        due = trial.state("to_replace")[0] + 0.3 * mature_before.sum()
        probe = Trial(width=8, depth=1, maturity_threshold=10**9)  # the same update, with nothing replaced
        load(probe, trial)
        assert probe.update() == []
        utility = probe.state("utility_0") / (1 - 0.9 ** (age + 1))
        utility[~mature_before] = np.inf
        events = trial.update()
        assert len(events) == int(due)
        assert [unit for _, _, unit in events] == np.argsort(utility)[: int(due)].tolist()
        checked += len(events) > 1
    assert checked > 5


def load(trial: Trial, other: Trial) -> None:
    """Bring a trial to where another one stands."""
    trial.data = np.random.default_rng()
    trial.data.bit_generator.state = other.data.bit_generator.state
    with torch.no_grad():
        for ours, theirs in zip(trial.network.parameters, other.network.parameters, strict=True):
            ours.copy_(theirs)
        for name, tensor in other.replacement.state.items():
            trial.replacement.state[name].copy_(tensor)
    trial.begin()


def test_a_replaced_unit_is_new_and_silent() -> None:
    trial = Trial(maturity_threshold=3, replacement_rate=0.25)
    for _ in range(3):
        trial.update()
    (_, _, first), (_, _, second) = trial.update()
    fresh = uniform(0, 4, "replacement", 0, INPUTS) * (2 * trial.bounds[0]) - trial.bounds[0]
    np.testing.assert_array_equal(trial.weight(0)[:, first], fresh)
    row = uniform(0, 4, "replacement", 1, 4) * (2 * trial.bounds[1]) - trial.bounds[1]
    np.testing.assert_array_equal(trial.weight(1)[:, second], row)
    assert (trial.weight(2)[second] == 0).all()
    for layer, unit in ((0, first), (1, second)):
        assert trial.network.biases[layer][0, unit] == 0
        assert (trial.network.biases[layer] != 0).sum() == 3
        for name in ("utility", "mean_activation", "age"):
            assert trial.state(f"{name}_{layer}")[unit] == 0
        assert sorted(trial.state(f"age_{layer}")) == [0, 4, 4, 4]


def test_a_fresh_incoming_weight_overwrites_the_zero_of_the_layer_before() -> None:
    """Layers go from input to output: between a replaced unit and one of the next layer, the weight is new."""
    trial = Trial(maturity_threshold=3, replacement_rate=0.25)
    for _ in range(3):
        trial.update()
    events = trial.update()
    assert [layer for _, layer, _ in events] == [0, 1]
    (_, _, first), (_, _, second) = events
    outgoing = trial.weight(1)[first]
    assert outgoing[second] != 0
    assert (np.delete(outgoing, second) == 0).all()


@pytest.mark.parametrize("utility", ["adaptable_contribution", "contribution", "adaptation", "weight"])
def test_utilities_are_those_of_the_paper(utility: str) -> None:
    """Two runs, mini-batches of 3, three updates, worked out unit by unit with the weights after each update."""
    trial = Trial(runs=2, utility=utility, maturity_threshold=100)
    f, u = np.zeros((2, 2, 4)), np.zeros((2, 2, 4))
    for age in (1, 2, 3):
        data = np.random.default_rng()
        data.bit_generator.state = trial.data.bit_generator.state
        with torch.no_grad():
            _, hidden = trial.network.forward(torch.from_numpy(data.random((2, 3, INPUTS))))
        trial.update(size=3)
        for run in range(2):
            for layer in range(2):
                for unit in range(4):
                    h = hidden[layer][run, :, unit].numpy()
                    incoming = np.mean(np.abs(trial.weight(layer, run)[:, unit]))
                    outgoing = np.mean(np.abs(trial.weight(layer + 1, run)[unit]))
                    f[run, layer, unit] = 0.9 * f[run, layer, unit] + 0.1 * h.mean()
                    f_hat = f[run, layer, unit] / (1 - 0.9**age)
                    y = {
                        "adaptable_contribution": np.mean(np.abs(h - f_hat)) * outgoing / incoming,
                        "contribution": np.mean(np.abs(h)) * outgoing,
                        "adaptation": 1 / incoming,
                        "weight": outgoing,
                    }[utility]
                    u[run, layer, unit] = 0.9 * u[run, layer, unit] + 0.1 * y
    for run in range(2):
        for layer in range(2):
            # float64: means of 3 or 4 terms in another order; |h - f_hat| may cancel a digit or two
            np.testing.assert_allclose(trial.state(f"utility_{layer}", run), u[run, layer], rtol=1e-12)
            np.testing.assert_allclose(trial.state(f"mean_activation_{layer}", run), f[run, layer], rtol=1e-12)
            assert (trial.state(f"age_{layer}", run) == 3).all()


def test_a_unit_that_nothing_reaches_is_useless() -> None:
    """No weight comes in: y is 0 and not 0 / 0, which would stay in the unit's utility for good."""
    for utility in ("adaptable_contribution", "adaptation"):
        trial = Trial(activation="relu", utility=utility, maturity_threshold=100)
        with torch.no_grad():
            trial.network.weights[1][0, :, 2] = 0
            trial.network.biases[1][0, 2] = -1
        trial.update()
        assert trial.state("utility_1")[2] == 0
        assert np.isfinite(trial.state("utility_1")).all()


@pytest.mark.parametrize("reset", [False, True])
def test_momentum_of_a_replaced_unit(reset: bool) -> None:
    """Kept as published, or forgotten by option: of its incoming weights, its bias, its outgoing weights."""
    trial = Trial(momentum=0.9, reset_momentum=reset, maturity_threshold=3, depth=1)
    for _ in range(3):
        assert trial.update() == []
    [(_, _, unit)] = trial.update()
    velocity = trial.step.optimizer.state
    owned = [velocity["velocity_0"][0, :, unit], velocity["velocity_1"][0, unit], velocity["velocity_2"][0, unit]]
    assert all(bool((part == 0).all()) == reset for part in owned)
    others = np.delete(np.arange(4), unit)
    assert (velocity["velocity_0"][0][:, others] != 0).all()


def test_adam_starts_afresh_for_a_replaced_unit() -> None:
    trial = Trial(optimizer="adam", maturity_threshold=3, depth=1)
    for _ in range(3):
        assert trial.update() == []
    [(_, _, unit)] = trial.update()
    for name in ("first", "second", "updates"):
        kept = [trial.step.optimizer.state[f"{name}_{parameter}"][0] for parameter in range(4)]
        assert (kept[0][:, unit] == 0).all()
        assert kept[1][unit] == 0
        assert (kept[2][unit] == 0).all()
        assert (kept[0] != 0).sum() == 3 * INPUTS
        assert (kept[3] != 0).all()


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("normalization", ["batch", "online"])
@pytest.mark.parametrize("keys", [{"momentum": 0.9, "reset_momentum": True}, {"optimizer": "adam"}], ids=str)
def test_normalization_of_a_replaced_unit(normalization: str, reset: bool, keys: dict[str, Any]) -> None:
    """New with the unit, and the optimizer forgets its gain; or left as it is. The other units keep theirs."""
    trial = Trial(
        normalization=normalization, reset_normalization=reset, maturity_threshold=3, depth=1, step_size=0.1, **keys
    )
    for _ in range(3):
        assert trial.update(size=4) == []
    [(_, _, unit)] = trial.update(size=4)
    assert isinstance(trial.network.normalization, Normalizer)
    kept = [state[0, unit].item() for state in trial.network.normalization.state.values()]
    kept += [trial.network.of_normalization[0][0][0, unit].item()]
    kept += [state[0, unit].item() for name, state in trial.step.optimizer.state.items() if name.endswith("_4")]
    new = [*trial.network.normalization.initial.values(), 1.0, *[0.0] * (3 if "optimizer" in keys else 1)]
    assert len(kept) == len(new)
    assert [value == start for value, start in zip(kept, new, strict=True)] == [reset] * len(new)
    others = np.delete(np.arange(4), unit)
    for name, value in trial.network.normalization.initial.items():
        assert (trial.network.normalization.state[f"{name}_0"][0, others] != value).all()
    assert (trial.network.of_normalization[0][0][0, others] != 1).all()


def test_random_utility_takes_each_mature_unit_equally_often() -> None:
    """600 replacements among 4 units, always mature: 150 each, give or take 5 binomial standard deviations of 10.6."""
    trial = Trial(utility="random", maturity_threshold=0, depth=1)
    counts = Counter(unit for _ in range(600) for _, _, unit in trial.update())
    assert sum(counts.values()) == 600
    assert all(abs(counts[unit] - 150) < 53 for unit in range(4))


def test_random_utility_spares_the_immature() -> None:
    trial = Trial(utility="random", maturity_threshold=3, depth=1)
    for _ in range(200):
        age = trial.state("age_0").copy()
        assert all(age[unit] >= 3 for _, _, unit in trial.update())


def test_runs_replace_each_for_itself() -> None:
    """Two runs together do what each does alone, and draw each from its own generator."""
    together = Trial(runs=2, utility="random", maturity_threshold=3)
    events = [event for _ in range(30) for event in together.update()]
    per_run = [[(layer, unit) for r, layer, unit in events if r == run] for run in range(2)]
    assert len(per_run[0]) == len(per_run[1]) > 10
    assert per_run[0] != per_run[1]
    alone = Trial(utility="random", maturity_threshold=3)
    assert [(layer, unit) for _ in range(30) for _, layer, unit in alone.update()] == per_run[0]


def test_a_linear_learner_has_nothing_to_replace() -> None:
    assert Trial(depth=0, maturity_threshold=0, replacement_rate=1.0).update() == []
