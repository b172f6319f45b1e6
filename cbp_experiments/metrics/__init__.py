"""Plasticity metrics: pure functions (features.py), and which of them a run records (measurements.py)."""

from cbp_experiments.metrics.features import (
    RANKS,
    FeatureMetric,
    absolute_approximate_rank,
    approximate_rank,
    dead_units,
    dormant_units,
    effective_rank,
    singular_values,
    weight_magnitude,
)

__all__ = [
    "RANKS",
    "FeatureMetric",
    "absolute_approximate_rank",
    "approximate_rank",
    "dead_units",
    "dormant_units",
    "effective_rank",
    "singular_values",
    "weight_magnitude",
]
