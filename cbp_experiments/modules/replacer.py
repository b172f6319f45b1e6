"""Continual backpropagation around your own module, optimizer and training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import UnitReplacement
from cbp_experiments.learners.draws import Draws
from cbp_experiments.learners.replacement import Replacing
from cbp_experiments.learners.resetting import Resetting
from cbp_experiments.modules.groups import Bound, Units, check_parameters, find_groups
from cbp_experiments.modules.stacked import StackedModule, StateOf
from cbp_experiments.modules.tracing import trace_units
from cbp_experiments.seeding import task_key


class UnitReplacer:
    """Replaces the least useful mature units of a module's hidden layers (paper, Algorithm 1).

    Call `step()` after `optimizer.step()`. It uses the activations of the last forward pass in training mode. Hidden
    layers are those between two Linear or Conv2d layers; torch.fx finds them, or `units` names them.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        replacement_rate: float = 1e-4,
        maturity_threshold: int = 100,
        decay_rate: float = 0.99,
        utility: str = "adaptable_contribution",
        optimizer_state: str | None = None,
        reset_momentum: bool = False,
        reset_normalization: bool = True,
        mature_units_only: bool = True,
        bound: Bound | None = None,
        units: Sequence[Units] | None = None,
        seed: int = 0,
    ):
        """Find the units and watch their activations.

        replacement_rate: share of the mature units of a layer replaced at an update. maturity_threshold: updates before
        a unit may be replaced. decay_rate: of the running averages of activation and utility. utility: one of
        learners.UTILITIES. reset_normalization: reset affine parameters and running statistics of a replaced unit.

        optimizer_state: what the optimizer forgets about the weights of a replaced unit: "none", "moments" (momentum or
        Adam's moments) or "moments_and_count" (with Adam's count of updates; only cbp_experiments.Adam has one per
        weight). None: nothing for SGD, "moments" for torch's Adam and AdamW, "moments_and_count" for
        cbp_experiments.Adam. reset_momentum: "moments" for SGD.

        mature_units_only: the number of units due grows by rate x mature units at each update. False: by rate x all
        units, once any is mature, as in the published runs on convolutional networks.

        bound: fresh weights are uniform in +-bound, a number or a function of the layer. None: 1 / sqrt(fan_in), with
        which torch initializes Linear and Conv2d. units: from input to output; None: all, found by torch.fx.
        seed: of the fresh weights. No global generator is used.

        Raises ConfigError if units cannot be found or replaced, or if a value is out of range.
        """
        replacement = UnitReplacement(
            replacement_rate=replacement_rate,
            maturity_threshold=maturity_threshold,
            decay_rate=decay_rate,
            utility=utility,
            reset_momentum=reset_momentum,
            reset_normalization=reset_normalization,
            optimizer_state=optimizer_state,
        )
        self.units = list(trace_units(module) if units is None else units)
        groups = find_groups(module, self.units, bound)
        check_parameters(module, groups, optimizer)
        self._network = StackedModule(groups, mature_units_only)
        state = StateOf(optimizer, self._network, optimizer_state)
        draws = Draws(1, groups[0].layer.weight.device)
        self._resetting = Resetting(self._network, state, draws)
        self._replacing = Replacing(replacement, self._resetting, replacement.chosen_reset(state.published_reset))
        self._watches = [Watch(group.units.layer) for group in groups]
        watched = zip(groups, self._watches, strict=True)
        self._hooks = [group.out.register_forward_pre_hook(watch) for group, watch in watched]
        self._begin(seed, 0)

    @torch.no_grad()
    def step(self) -> None:
        """Update the utilities, and replace the units that are due.

        Raises RuntimeError if there was no forward pass in training mode since the last call, and ConfigError if the
        module was moved to another device or type.
        """
        inputs = [watch.take() for watch in self._watches]
        self._network.look()
        self._check_place()
        activations = [group.activations(x) for group, x in zip(self._network.groups, inputs, strict=True)]
        self._updates += 1
        self._resetting.draws.next_update()
        self._replacing.after_update(self._resetting, activations)
        self._replacing.between_updates(self._resetting)

    @property
    def replaced(self) -> dict[str, list[int]]:
        """The units that the last `step()` replaced, by the name of their layer, the least useful one first."""
        return {self.units[layer].layer: units[0].tolist() for layer, units in self._replacing.replaced}

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of what lasts from one update to the next, in numbers and tensors."""
        tensors = {name: tensor.clone() for name, tensor in self._replacing.state.items()}
        return {"seed": self._seed, "updates": self._updates, "tensors": tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was called. Raises ConfigError if it is of other units."""
        own, other = self._replacing.state, state.get("tensors", {})
        if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in other.items()}:
            raise ConfigError("the state is of a UnitReplacer with other hidden layers; load it into one like that")
        for name, tensor in own.items():
            tensor.copy_(other[name])
        self._begin(state["seed"], state["updates"])

    def remove(self) -> None:
        """Stop watching the module's activations; `step()` cannot be called any more."""
        for hook in self._hooks:
            hook.remove()

    def _check_place(self) -> None:
        for layer, group in enumerate(self._network.units):
            age = self._replacing.state[f"age_{layer}"]
            if (group.bias.device, group.bias.dtype) != (age.device, age.dtype):
                moved = f"{self.units[layer].layer!r} is on {group.bias.device} in {group.bias.dtype} now"
                raise ConfigError(f"{moved}; move or convert the module before you make optimizer and UnitReplacer")

    def _begin(self, seed: int, updates: int) -> None:
        """Random draws and replacements continue after `updates` updates."""
        self._seed, self._updates = seed, updates
        self._resetting.draws.begin_task([task_key(seed, 0)], updates)
        self._replacing.begin_task(self._resetting)


class Watch:
    """Forward pre-hook of the layer that reads a group of units: keeps their activations, which are its input."""

    def __init__(self, units: str):
        self.units = units
        self.seen: Tensor | None = None

    def __call__(self, reader: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if reader.training:
            self.seen = inputs[0].detach()

    def take(self) -> Tensor:
        if self.seen is None:
            raise RuntimeError(f"{self.units!r}: no forward pass in training mode since the last UnitReplacer.step()")
        seen, self.seen = self.seen, None
        return seen
