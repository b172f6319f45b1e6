"""UnitReplacer in a training loop: what it watches, draws, counts and saves."""

import copy
import io
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cbp_experiments as cbp
from cbp_experiments.errors import ConfigError
from tests.modules.trained import Trained
from tests.problems import CBP, tiny_problem


class Loop:
    """A network with two hidden layers of 8 units, its optimizer and a replacer."""

    def __init__(self, **keys: Any):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second, self.last = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.norm = nn.BatchNorm1d(8)
        self.module = nn.Sequential(self.first, self.norm, nn.ReLU(), self.second, nn.ReLU(), self.last)
        self.optimizer = cbp.Adam(self.module.parameters(), lr=0.01)
        keys = {"replacement_rate": 0.03, "maturity_threshold": 5, "decay_rate": 0.9} | keys
        self.replacer = cbp.UnitReplacer(self.module, self.optimizer, **keys)

    def train(self, first: int, last: int) -> list[dict[str, list[int]]]:
        """Updates number `first` to `last`; what each replaced."""
        return [self.update(update) for update in range(first, last + 1)]

    def update(self, update: int) -> dict[str, list[int]]:
        x = torch.randn(6, 3, generator=torch.Generator().manual_seed(update))
        self.optimizer.zero_grad()
        self.module(x).square().sum().backward()
        self.optimizer.step()
        self.replacer.step()
        return self.replacer.replaced

    def state(self) -> dict[str, Any]:
        parts = {"module": self.module, "optimizer": self.optimizer, "replacer": self.replacer}
        return {name: part.state_dict() for name, part in parts.items()}  # type: ignore[attr-defined]

    def load(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.replacer.load_state_dict(state["replacer"])


def saved(state: dict[str, Any]) -> dict[str, Any]:
    """As torch.load reads it from a file; it loads nothing but numbers and tensors."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def tensors_of(state: Any) -> list[Tensor]:
    if isinstance(state, dict):
        return [tensor for part in state.values() for tensor in tensors_of(part)]
    return [state] if isinstance(state, Tensor) else []


@pytest.mark.parametrize("utility", ["adaptable_contribution", "random"])
def test_an_interrupted_run_continues_bit_for_bit(utility: str) -> None:
    whole, first = Loop(utility=utility, seed=3), Loop(utility=utility, seed=3)
    replaced = whole.train(1, 60)
    assert first.train(1, 23) == replaced[:23]
    second = Loop(utility=utility)
    second.load(saved(first.state()))
    assert second.train(24, 60) == replaced[23:]
    assert sum(map(len, replaced[23:])) > 5
    for ours, theirs in zip(tensors_of(second.state()), tensors_of(whole.state()), strict=True):
        assert torch.equal(ours, theirs)


def test_a_state_is_a_copy() -> None:
    loop = Loop()
    loop.train(1, 3)
    state = loop.replacer.state_dict()
    loop.train(4, 5)
    assert state["updates"] == 3
    assert (state["tensors"]["age_0"] == 3).all()


def test_the_state_of_other_units_is_refused() -> None:
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    other = cbp.UnitReplacer(module, torch.optim.SGD(module.parameters(), lr=0.1))
    for state in (other.state_dict(), module.state_dict()):
        with pytest.raises(ConfigError, match="the state is of a UnitReplacer with other hidden layers"):
            Loop().replacer.load_state_dict(state)


def test_units_are_due_by_rate_and_maturity() -> None:
    """8 units are mature at update 6: 5 x 0.03 x 8 = 1.2 at update 10. Then 7 are: 0.2 + 4 x 0.03 x 7 = 1.04."""
    replaced = Loop().train(1, 15)
    for layer in ("0", "3"):
        assert [update for update, units in enumerate(replaced, start=1) if layer in units] == [10, 14]
        assert all(len(units.get(layer, [])) <= 1 for units in replaced)


def test_the_count_by_all_units_begins_with_the_first_mature_one() -> None:
    """Rate 1/8, a threshold of 1: all 8 units at update 2, and one a time replaced; the 8th is due although it is new.

    With mature_units_only, 7 eighths are due at update 3 and the rest with the next.
    """
    every, mature = (
        Loop(replacement_rate=0.125, maturity_threshold=1, mature_units_only=only).train(1, 5) for only in (False, True)
    )
    assert [len(units.get("0", [])) for units in every] == [0, 1, 1, 1, 1]
    assert [len(units.get("0", [])) for units in mature] == [0, 1, 0, 1, 1]


def test_ties_go_to_the_lowest_index() -> None:
    """No unit is read, so that all are useless; 2 of 8 are due at the second update."""
    loop = Loop(replacement_rate=0.25, maturity_threshold=1)
    for layer in (loop.second, loop.last):
        layer.weight.data.zero_()
    loop.optimizer.param_groups[0]["lr"] = 0.0
    assert loop.train(1, 2) == [{}, {"0": [0, 1], "3": [0, 1]}]


def test_only_the_last_forward_pass_in_training_mode_counts() -> None:
    quiet, busy = Loop(), Loop()
    quiet.update(1)
    busy.module(torch.ones(6, 3) * 9)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    busy.module(x).square().sum().backward()
    busy.optimizer.step()
    busy.module.eval()
    busy.module(torch.ones(6, 3) * 9)
    busy.replacer.step()
    for ours, theirs in zip(
        tensors_of(busy.replacer.state_dict()), tensors_of(quiet.replacer.state_dict()), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_step_without_a_forward_pass_in_training_mode_is_refused() -> None:
    loop = Loop()
    problem = r"'0': no forward pass in training mode since the last UnitReplacer.step\(\)"
    loop.module.eval()
    loop.module(torch.ones(6, 3))
    with pytest.raises(RuntimeError, match=problem):
        loop.replacer.step()
    loop.module.train()
    loop.update(1)
    with pytest.raises(RuntimeError, match=problem):
        loop.replacer.step()
    loop.replacer.remove()
    loop.module(torch.ones(6, 3))
    with pytest.raises(RuntimeError, match=problem):
        loop.replacer.step()


def test_a_copy_of_the_module_is_not_watched() -> None:
    loop = Loop()
    loop.module(torch.ones(6, 3))
    copy.deepcopy(loop.module)(torch.zeros(6, 3))
    assert loop.replacer._watches[1].seen is not None
    assert torch.equal(loop.replacer._watches[1].seen, loop.module[:5](torch.ones(6, 3)).detach())


def test_a_module_that_moved_is_refused() -> None:
    loop = Loop()
    loop.update(1)
    loop.module.double()
    loop.module(torch.ones(6, 3, dtype=torch.float64))
    with pytest.raises(ConfigError, match=r"'0' is on cpu in torch.float64 now; move or convert the module before"):
        loop.replacer.step()


def test_parameters_may_have_other_memory() -> None:
    """As after torch.nn.utils.vector_to_parameters."""
    loop, other = Loop(), Loop()
    replaced = loop.train(1, 10)[-1]
    other.train(1, 9)
    for parameter in other.module.parameters():
        parameter.data = parameter.data.clone()
    assert other.update(10) == replaced
    assert torch.equal(loop.first.weight, other.first.weight)


def test_mixed_precision() -> None:
    loop = Loop()
    for update in range(12):
        with torch.autocast("cpu", torch.bfloat16):
            loss = loop.module(torch.ones(6, 3) * update).square().sum()
        loss.backward()
        loop.optimizer.step()
        loop.replacer.step()
    assert {tensor.dtype for name, tensor in loop.replacer.state_dict()["tensors"].items() if name != "to_replace"} == {
        torch.float32
    }


def test_examples_may_have_more_dimensions_or_none() -> None:
    """`[2, 3, inputs]` are six examples, `[inputs]` is one."""
    states = []
    for shape in ((6, 3), (2, 3, 3), (3,), (1, 3)):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        replacer = cbp.UnitReplacer(module, torch.optim.SGD(module.parameters(), lr=0.1))
        x = torch.arange(18.0).reshape(6, 3) if np.prod(shape) == 18 else torch.ones(3)
        module(x.reshape(shape))
        replacer.step()
        states.append(replacer.state_dict()["tensors"]["utility_0"])
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[2], states[3])


def test_no_global_generator_is_used() -> None:
    loop = Loop(utility="random")
    before = torch.random.get_rng_state(), pickle.dumps(np.random.get_state())  # noqa: NPY002
    assert any(loop.train(1, 20))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert pickle.dumps(np.random.get_state()) == before[1]  # noqa: NPY002


def fresh(update: int = 1, **keys: Any) -> tuple[Tensor, Tensor]:
    """The fresh weights of an update into both hidden layers, in the order in which they were drawn."""
    loop = Loop(maturity_threshold=0, replacement_rate=1.0, **keys)
    replaced = loop.train(1, update)[-1]
    return loop.first.weight.detach()[replaced["0"]], loop.second.weight.detach()[replaced["3"]]


def half(layer: nn.Module) -> float:
    return 0.5 * float(layer.get_parameter("weight").shape[1]) ** -0.5


def test_bounds_of_fresh_weights() -> None:
    units = [cbp.Units("0", "3", "1", bound=4.0), cbp.Units("3", "5")]
    choices: list[dict[str, Any]] = [{}, {"bound": 1.0}, {"bound": half}, {"units": units}]
    default, one, function, each = (fresh(**keys) for keys in choices)
    for layer, fan_in in ((0, 3), (1, 8)):
        assert 0.8 * fan_in**-0.5 < default[layer].abs().max() <= fan_in**-0.5
        torch.testing.assert_close(one[layer] * fan_in**-0.5, default[layer])
        torch.testing.assert_close(function[layer] * 2, default[layer])
    torch.testing.assert_close(each[0], one[0] * 4)
    torch.testing.assert_close(each[1], default[1])


def test_draws_depend_on_seed_layer_and_update() -> None:
    first = fresh(bound=1.0)[0].flatten()
    assert torch.equal(fresh(bound=1.0)[0].flatten(), first)
    others = fresh(bound=1.0)[1], fresh(bound=1.0, seed=1)[0], fresh(2, bound=1.0)[0]
    assert all(not torch.isclose(other.flatten()[:24], first).any() for other in others)


def test_a_second_run_is_the_same() -> None:
    problem = tiny_problem(CBP, tasks=2, task_length=60)
    first, second = Trained(problem, 1), Trained(problem, 1)
    first.learn_all()
    second.learn_all()
    assert first.losses == second.losses
    assert first.events == second.events


def test_the_package_imports_torch_when_it_is_used() -> None:
    code = "import sys, cbp_experiments as cbp; print('torch' in sys.modules, cbp.UnitReplacer, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False <class 'cbp_experiments.modules.replacer.UnitReplacer'> True\n"
    with pytest.raises(AttributeError, match="module 'cbp_experiments' has no attribute 'Replacer'"):
        cbp.Replacer  # noqa: B018
