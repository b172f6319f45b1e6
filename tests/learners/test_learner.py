"""What a learner's configuration accepts, and the step that it becomes."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Actor, Learner, Mechanism, Step
from cbp_experiments.learners.optimizers import SGD, Adam
from cbp_experiments.learners.replacement import Replacing
from cbp_experiments.networks import MLP, StackedMLP
from tests.drawing import uniform
from tests.problems import stacked

NETWORK = MLP(6, 2)
INPUTS, CLASSES = 5, 3


def stack(runs: int = 1) -> StackedMLP:
    return stacked(NETWORK, range(runs), INPUTS, CLASSES)


def step_of(runs: int = 1, **keys: Any) -> Step:
    learner = Learner(name="test", **({"step_size": 0.1} | keys))
    step = Step(learner, stack(runs))
    step.begin_task(range(runs))
    return step


def batch(runs: int, size: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(runs, size, INPUTS, dtype=torch.float64, generator=rng)
    return x, torch.randint(CLASSES, (runs, size), generator=rng)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optimizer": "rmsprop"}, "learner.optimizer must be one of sgd, adam, adamw, got 'rmsprop'"),
        ({"utility": "beauty"}, "learner.utility must be one of adaptable_contribution, .*random, got 'beauty'"),
        ({"step_size": 0.0}, "learner.step_size must be a positive number, got 0.0"),
        ({"step_size": -0.1}, "learner.step_size must be a positive number, got -0.1"),
        ({"step_size": float("inf")}, "learner.step_size must be a positive number, got inf"),
        ({"step_size": float("nan")}, "learner.step_size must be a positive number, got nan"),
        ({"replacement_rate": 2.0}, r"learner.replacement_rate must be between 0 and 1 \(.*\), got 2.0"),
        ({"replacement_rate": -1e-4}, r"learner.replacement_rate must be between 0 and 1 \(.*\), got -0.0001"),
        ({"momentum": 1.0}, "learner.momentum must be at least 0 and below 1, got 1.0"),
        ({"beta1": -0.1}, "learner.beta1 must be at least 0 and below 1, got -0.1"),
        ({"beta2": 1.5}, "learner.beta2 must be at least 0 and below 1, got 1.5"),
        ({"decay_rate": 1.0}, "learner.decay_rate must be at least 0 and below 1, got 1.0"),
        ({"epsilon": 0.0}, "learner.epsilon must be a positive number, got 0.0"),
        ({"normalization": "group"}, "learner.normalization must be one of none, batch, online, layer, got 'group'"),
        ({"normalization_decay": 1.0}, "learner.normalization_decay must be at least 0 and below 1, got 1.0"),
        (
            {"normalization_backward_decay": -0.1},
            "learner.normalization_backward_decay must be at least 0 and below 1, got -0.1",
        ),
        ({"normalization_epsilon": 0.0}, "learner.normalization_epsilon must be a positive number, got 0.0"),
        ({"maturity_threshold": -1}, "learner.maturity_threshold must be a number of updates from 0 to 9e18, got -1"),
        (
            {"optimizer": "adam", "momentum": 0.9},
            "learner.momentum belongs to learner.optimizer=sgd, and it is adam; set learner.momentum=0.0",
        ),
        ({"beta1": 0.5}, "learner.beta1 belongs to learner.optimizer=adam, and it is sgd; set learner.beta1=0.9"),
        ({"beta2": 0.5}, "learner.beta2 belongs to learner.optimizer=adam, and it is sgd; set learner.beta2=0.999"),
        (
            {"epsilon": 0.1},
            "learner.epsilon belongs to learner.optimizer=adam, and it is sgd; set learner.epsilon=1e-08",
        ),
    ],
)
def test_bad_values_are_named_as_the_user_typed_them(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Learner(name="test", **({"step_size": 0.1} | keys))
    assert re.fullmatch(message, str(error.value))


def test_a_mechanism_is_part_of_the_learner_when_its_field_is_not_zero() -> None:
    assert step_of().learner.chosen_optimizer == SGD(momentum=0.0)
    assert step_of().actors == []
    step = step_of(optimizer="adam", replacement_rate=1e-4)
    assert step.learner.chosen_optimizer == Adam(0.9, 0.999, 1e-8)
    assert [type(actor) for actor in step.actors] == [Replacing]


def test_a_step_is_that_of_a_plain_loop() -> None:
    """Loss and hits before the update, and torch.optim.SGD's update, for each run."""
    step, x, y = step_of(runs=2), *batch(runs=2)
    references = [[p[run].detach().clone().requires_grad_() for p in step.network.parameters] for run in range(2)]
    losses, right = step(x, y)
    for run, p in enumerate(references):
        h = torch.relu(torch.relu(x[run] @ p[0] + p[1]) @ p[2] + p[3])
        logits = h @ p[4] + p[5]
        loss = F.cross_entropy(logits, y[run])
        loss.backward()
        torch.optim.SGD(p, lr=0.1).step()
        # float64: sums of 6 terms in another order
        torch.testing.assert_close(losses[run], loss.detach(), rtol=1e-13, atol=0)
        assert right[run] == (logits.argmax(dim=1) == y[run]).sum()
        for ours, expected in zip(step.network.parameters, p, strict=True):
            torch.testing.assert_close(ours[run].detach(), expected.detach(), rtol=1e-13, atol=1e-16)


@dataclass(frozen=True)
class Decay(Mechanism):
    """A mechanism of someone else's: L2, with a count of its calls as state."""

    amount: float

    def __post_init__(self) -> None:
        self.require_0_or_more("amount")

    def actor(self, step: Step) -> Actor:
        return Decaying(self.amount, len(step.network.weights[0]))


class Decaying(Actor):
    def __init__(self, amount: float, runs: int):
        super().__init__()
        self.amount = amount
        self.state["calls"] = torch.zeros(runs)

    def gradients(self, step: Step, gradients: list[Tensor]) -> None:
        for gradient, parameter in zip(gradients, step.network.parameters, strict=True):
            gradient += self.amount * parameter

    def after_update(self, step: Step, hidden: list[Tensor]) -> None:
        assert [h.shape for h in hidden] == [(2, 4, 6), (2, 4, 6)]
        self.state["calls"] += 1


def test_mechanisms_of_ones_own_act_beside_the_learners() -> None:
    step, plain = step_of(runs=2, others={"mine": Decay(0.3)}), step_of(runs=2)
    before = [p.detach().clone() for p in plain.network.parameters]
    for either in (step, plain):
        either(*batch(runs=2))
    for ours, other, start in zip(step.network.parameters, plain.network.parameters, before, strict=True):
        torch.testing.assert_close(ours, other - 0.1 * 0.3 * start, rtol=1e-13, atol=1e-16)
    assert step.actors[0].state["calls"].tolist() == [1, 1]


def test_mechanisms_act_in_the_order_of_their_names() -> None:
    """As they are listed, two orders would be two results of one name."""
    first, last = Decay(0.1), Decay(0.2)
    for others in ({"a": first, "b": last}, {"b": last, "a": first}):
        assert Learner("both", 0.1, others=others).mechanisms == (first, last)


@dataclass(frozen=True)
class Lion(SGD):
    beta1: float = 0.9


def test_the_keys_of_ones_own_optimizer_are_not_the_learners() -> None:
    lion = Lion(momentum=0.0, beta1=0.5)
    assert Learner("lion", 0.1, optimizer="lion", others={"lion": lion}).chosen_optimizer == lion
    with pytest.raises(ConfigError, match=r"learner\.beta1 belongs to learner\.optimizer=adam, and it is lion"):
        Learner("lion", 0.1, optimizer="lion", others={"lion": lion}, beta1=0.7)


def test_the_order_of_mechanisms() -> None:
    learner = Learner("all", 0.1, others={"mine": Decay(0.3)}, replacement_rate=0.1, weight_decay=0.1, dropout=0.1)
    names = [type(part).__name__ for part in learner.mechanisms]
    assert names == [
        "Dropout",
        "WeightDecay",
        "UnitReplacement",
        "Decay",
    ]


def test_what_is_not_a_part_or_not_used_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^learner.mine: int is not a Mechanism, an Optimizer or a Normalization"):
        Learner("test", 0.1, others={"mine": 3})
    with pytest.raises(ConfigError, match=r"^learner.mine is not used; set learner.optimizer=mine$"):
        Learner("test", 0.1, others={"mine": SGD(0.5)})
    assert Learner("test", 0.1, optimizer="mine", others={"mine": SGD(0.5)}).chosen_optimizer == SGD(0.5)


def test_units_are_made_new_as_they_are_chosen() -> None:
    """Two runs, of which each resets other units of those that are named; everything else stays."""
    step = step_of(runs=2, normalization="layer", optimizer="adam", replacement_rate=1e-9)
    step(*batch(runs=2))
    network, moves = step.network, step.optimizer.state
    before = [p.detach().clone() for p in network.parameters]
    units, chosen = torch.arange(6).expand(2, 6), torch.zeros(2, 6, dtype=torch.bool)
    chosen[0, 1] = chosen[1, 4] = chosen[1, 5] = True
    with torch.no_grad():
        step.reset_units(0, units, "moments_and_count", purpose="replacement", chosen=chosen)
    for run in range(2):
        fresh = uniform(run, 1, "replacement", 0, 6 * INPUTS).reshape(6, INPUTS)
        bound = network.units[0].bound
        for unit in range(6):
            owned = [network.weights[0][run, :, unit], network.biases[0][run, unit], network.weights[1][run, unit]]
            owned += [parameter[run, unit] for parameter in network.of_normalization[0]]
            old = [before[0][run, :, unit], before[1][run, unit], before[2][run, unit]]
            old += [before[6][run, unit], before[8][run, unit]]  # gain and offset of the first layer
            new = [torch.from_numpy(fresh[unit] * 2 * bound - bound), 0.0, 0.0, 1.0, 0.0]
            for value, was, made in zip(owned, old, new, strict=True):
                expected = torch.as_tensor(made, dtype=torch.float64) if chosen[run, unit] else was
                torch.testing.assert_close(value.detach(), expected.expand_as(value), rtol=1e-15, atol=0)
            counts = [moves["updates_0"][run, :, unit], moves["updates_1"][run, unit], moves["updates_6"][run, unit]]
            assert all(bool((count == 0).all()) == bool(chosen[run, unit]) for count in counts)


def test_a_unit_of_crelu_has_two_activations_and_two_rows_of_weights_out() -> None:
    network = stacked(MLP(3, 2, "crelu"), [0], INPUTS, CLASSES)
    _, (h, _) = network.forward(batch(runs=1)[0])
    assert h.shape == (1, 4, 6)
    group = network.units[0]
    assert group.observed(h)[0, :, 1].tolist() == h[0][:, [1, 4]].tolist()
    runs, rows = group.outgoing(torch.tensor([[1, 2]]))
    assert network.weights[1][runs, rows][0, 0].tolist() == network.weights[1][0, [1, 4]].tolist()
    means = network.weights[1][0].abs().mean(dim=1)
    torch.testing.assert_close(group.outgoing_magnitude()[0, 2], means[[2, 5]])
