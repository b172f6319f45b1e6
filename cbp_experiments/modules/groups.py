"""Which hidden units of a module are replaced: named by `Units`, found in the module and checked as `Group`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cbp_experiments.errors import ConfigError

Layer = nn.Linear | nn.Conv2d
Normalization = nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm
Bound = float | Callable[[nn.Module], float]

# Exact types: a subclass, as of torch's parametrizations, may compute its weights from others.
LAYERS = (nn.Linear, nn.Conv2d)
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)


@dataclass(frozen=True)
class Units:
    """The hidden units that are the outputs of one layer, by names of submodules ("fc1", "body.0").

    layer: a Linear, or a Conv2d whose units are its channels. out: the only layer that reads the units' activations,
    the next Linear or Conv2d. Between a Conv2d and a Linear, the positions of each channel are flattened (nn.Flatten).
    normalization: a BatchNorm1d, BatchNorm2d or LayerNorm of these units between the two. bound: fresh weights of
    `layer` are uniform in +-bound; None: the `bound` of UnitReplacer.
    """

    layer: str
    out: str
    normalization: str | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Group:
    """The modules that `units` names, checked; fresh weights are uniform in +-bound."""

    units: Units
    layer: Layer
    out: Layer
    normalization: Normalization | None
    bound: float

    @property
    def count(self) -> int:
        return self.layer.weight.shape[0]

    @property
    def modules(self) -> list[nn.Module]:
        return [self.layer, self.out, *([self.normalization] if self.normalization else [])]

    def activations(self, inputs: Tensor) -> Tensor:
        """Reshape the inputs of `out` to activations `[1, B, units, ...]`; B counts all dimensions before the units."""
        inputs = inputs.to(self.layer.weight.dtype)  # of mixed precision
        if isinstance(self.out, nn.Conv2d):
            return inputs.reshape(1, -1, *inputs.shape[-3:])
        return inputs.reshape(1, -1, self.count, self.out.in_features // self.count)


def default_bound(layer: nn.Module) -> float:
    """Return the bound of the weights that torch gives to a new Linear or Conv2d: 1 / sqrt(fan_in)."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight[0].numel() ** -0.5


def find_groups(module: nn.Module, named: Sequence[Units], bound: Bound | None) -> list[Group]:
    """Return the groups that `named` names. Raises ConfigError if units cannot be replaced there."""
    groups = [_group(module, units, default_bound if bound is None else bound) for units in named]
    if not groups:
        raise ConfigError("there are no hidden units to replace: they are between two Linear or Conv2d layers")
    for role in ("layer", "out"):
        name, count = Counter(getattr(units, role) for units in named).most_common(1)[0]
        if count > 1:
            raise ConfigError(f"{name!r} is the `{role}` of {count} groups of units; only one is possible")
    return groups


def check_parameters(module: nn.Module, groups: Sequence[Group], optimizer: torch.optim.Optimizer) -> None:
    """Raise ConfigError if a parameter to be changed is shared, frozen, in half precision, or not in `optimizer`."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    optimized = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    for parameter in _parameters(groups):
        name, *others = names[parameter]
        if others:
            raise ConfigError(f"{name} is also {others[0]}; units with tied weights cannot be replaced")
        if parameter.dtype not in (torch.float32, torch.float64):
            kind = str(parameter.dtype).removeprefix("torch.")
            raise ConfigError(f"{name} is {kind}; make the module float32 or float64 (mixed precision: torch.autocast)")
        if not parameter.requires_grad or parameter not in optimized:
            raise ConfigError(f"{name} is not trained by the optimizer; pass `units` without the layers that it is in")


def _parameters(groups: Iterable[Group]) -> Iterable[nn.Parameter]:
    for group in groups:
        yield from (p for module in group.modules for p in module.parameters())


def _group(module: nn.Module, units: Units, bound: Bound) -> Group:
    layer, out = (_layer(module, name) for name in (units.layer, units.out))
    chosen = units.bound if units.bound is not None else bound
    chosen = float(chosen(layer) if callable(chosen) else chosen)
    if not 0 < chosen < float("inf"):
        raise ConfigError(f"the bound of fresh weights of {units.layer!r} must be a positive number, got {chosen}")
    n, inputs = layer.weight.shape[0], out.weight.shape[1]
    flattened = isinstance(layer, nn.Conv2d) and isinstance(out, nn.Linear)
    if isinstance(layer, nn.Linear) and isinstance(out, nn.Conv2d):
        raise ConfigError(f"units of the Linear {units.layer!r} cannot be read by the Conv2d {units.out!r}")
    if inputs % n if flattened else inputs != n:
        raise ConfigError(f"{units.out!r} has {inputs} inputs, which are not the {n} units of {units.layer!r}")
    return Group(units, layer, out, _normalization(module, units, layer), chosen)


def _submodule(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        names = ", ".join(name for name, _ in module.named_modules() if name)
        raise ConfigError(f"the module has no submodule {name!r}; there are: {names}") from error


def _layer(module: nn.Module, name: str) -> Layer:
    layer = _submodule(module, name)
    if not isinstance(layer, Layer) or type(layer) not in LAYERS:
        raise ConfigError(f"{name!r} is a {type(layer).__name__}; it must be a torch.nn.Linear or Conv2d")
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        raise ConfigError(f"{name!r} has groups={layer.groups}; units can be replaced only with groups=1")
    if not isinstance(layer.weight, nn.Parameter):
        raise ConfigError(f"{name!r} computes its weight from other parameters, which cannot be reset")
    return layer


def _normalization(module: nn.Module, units: Units, layer: Layer) -> Normalization | None:
    if units.normalization is None:
        return None
    found, n = _submodule(module, units.normalization), layer.weight.shape[0]
    if not isinstance(found, Normalization) or type(found) not in NORMALIZATIONS:
        known = ", ".join(kind.__name__ for kind in NORMALIZATIONS)
        raise ConfigError(f"{units.normalization!r} is a {type(found).__name__}; known are {known}")
    shape = found.normalized_shape if isinstance(found, nn.LayerNorm) else (found.num_features,)
    dimensions = 3 if isinstance(layer, nn.Conv2d) and isinstance(found, nn.LayerNorm) else 1
    if shape[0] != n or len(shape) != dimensions:
        raise ConfigError(
            f"{units.normalization!r} normalizes {tuple(shape)}, not the {n} units of {units.layer!r}"
            + (" with their positions: (units, height, width)" if dimensions == 3 else "")
        )
    return found
