"""Continual backpropagation for your own torch.nn.Module (docs/your-own-network.md)."""

from cbp_experiments.modules.adam import Adam
from cbp_experiments.modules.groups import Units
from cbp_experiments.modules.replacer import UnitReplacer

__all__ = ["Adam", "UnitReplacer", "Units"]
