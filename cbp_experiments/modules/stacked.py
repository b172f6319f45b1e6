"""A module and its optimizer as the mechanisms of learners/ see networks: one run, with views of its parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cbp_experiments.errors import ConfigError
from cbp_experiments.modules.adam import Adam
from cbp_experiments.modules.groups import Group
from cbp_experiments.networks import Units, Where, fill

INITIAL = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}  # of a normalization
MOMENTS = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
COUNT = "updates"  # of modules.Adam; torch's "step" is one number a parameter


def stacked(values: Tensor) -> Tensor:
    """Return a view of a parameter, or of its state, as `networks.Units` has it: `[1, in, n]` of a Linear's weight."""
    return (values.T if values.ndim == 2 else values).detach().unsqueeze(0)


class StackedModule:
    """The groups of units of a module (resetting.HasUnits). `parameter_of` maps each view to its parameter."""

    def __init__(self, groups: Sequence[Group], mature_units_only: bool):
        self.groups, self.mature_units_only = groups, mature_units_only
        self.normalization = Normalizations([group.normalization for group in groups])
        self.look()

    def look(self) -> None:
        """View the parameters where they are now: a module may have moved them since the last look."""
        self.parameter_of: dict[Tensor, Tensor] = {}
        self.units = [self._units(group) for group in self.groups]
        self.of_normalization = [
            [self._view(parameter) for parameter in group.normalization.parameters()] if group.normalization else []
            for group in self.groups
        ]

    def _units(self, group: Group) -> Units:
        weight, bias, out = group.layer.weight, group.layer.bias, group.out.weight
        of_bias = weight.new_zeros(1, group.count) if bias is None else self._view(bias)
        return Units(self._view(weight), of_bias, self._view(out), group.bound)

    def _view(self, parameter: Tensor) -> Tensor:
        view = stacked(parameter)
        self.parameter_of[view] = parameter
        return view


class Normalizations:
    """The normalization of each group of units, if it has one."""

    def __init__(self, modules: Sequence[nn.Module | None]):
        self.modules = modules

    def reset(self, layer: int, where: Where, chosen: Tensor | None = None) -> None:
        for name, value in INITIAL.items():
            values = getattr(self.modules[layer], name, None)
            if values is not None:
                fill(stacked(values), where, value, chosen)


class StateOf:
    """The state of a torch optimizer, as far as it belongs to single weights (resetting.ResetsState).

    published_reset: what it forgets about a replaced unit by default (learners.base.FORGET).
    """

    def __init__(self, optimizer: torch.optim.Optimizer, network: StackedModule, optimizer_state: str | None):
        """optimizer_state: the user's choice. Raises ConfigError if this optimizer cannot forget that."""
        self.optimizer, self.network = optimizer, network
        name = type(optimizer).__name__
        if isinstance(optimizer, Adam):
            self.published_reset = "moments_and_count"
        elif isinstance(optimizer, torch.optim.Adam):  # AdamW, too
            self.published_reset = "moments"
            if optimizer_state == "moments_and_count":
                raise ConfigError(
                    f"torch.optim.{name} has one count for all weights of a parameter; set optimizer_state='moments', "
                    "or use cbp_experiments.Adam"
                )
        elif isinstance(optimizer, torch.optim.SGD) or optimizer_state == "none":
            self.published_reset = "none"
        else:
            raise ConfigError(
                f"the state of {name} is not known; use SGD, Adam or AdamW, or keep its state: optimizer_state='none'"
            )

    def reset(self, parameter: Tensor, where: Where, forget: str, chosen: Tensor | None = None) -> None:
        """As optimizers.Updater.reset; `parameter` is a view of `network`. A view of no parameter has no state."""
        source = self.network.parameter_of.get(parameter)
        if forget == "none" or source is None:
            return
        state = self.optimizer.state.get(source, {})
        for name in (*MOMENTS, *([COUNT] if forget == "moments_and_count" else [])):
            if state.get(name) is not None:
                fill(stacked(state[name]), where, 0.0, chosen)
