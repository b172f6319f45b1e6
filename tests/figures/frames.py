"""Frames made by hand, and what a drawing of them holds."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

Config = dict[str, Any]
TASKS = 20


def run(
    learner: str, seed: int, accuracy: list[float], status: str = "complete", config: Config | None = None
) -> pd.DataFrame:
    config = config or {}
    tasks = np.arange(1, len(accuracy) + 1)
    name = "_".join(map(str, [learner, *config.values(), f"seed{seed}"]))
    examples = tasks * config.get("data.task_length", 1)
    metrics = {
        "task": tasks,
        "examples": examples,
        "accuracy": accuracy,
        "dead_units": tasks + seed,
        "weight_magnitude": 0.1 * seed,
    }
    facts = {"effective_rank": math.nan, "run": name, "status": status, "seed": seed, "learner.name": learner, **config}
    return pd.DataFrame(metrics).assign(**facts)


def line(start: float, end: float, seed: int) -> list[float]:
    """Twenty accuracies on a line, a point higher for each seed."""
    return list(np.linspace(start, end, TASKS) + seed)


def seeds(learner: str, start: float, end: float, count: int = 3, config: Config | None = None) -> pd.DataFrame:
    return pd.concat([run(learner, seed, line(start, end, seed), config=config) for seed in range(count)])


def ending(learner: str, *ends: float, classes: int = 10) -> pd.DataFrame:
    """A run a seed, that has one accuracy all along."""
    return pd.concat([run(learner, seed, [end] * TASKS) for seed, end in enumerate(ends)]).assign(classes=classes)


def mean_lines(ax: Axes) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in ax.lines if not str(line.get_label()).startswith("_")}


def x(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_xdata())]


def y(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_ydata())]


def bands(ax: Axes) -> list[PolyCollection]:
    return [collection for collection in ax.collections if isinstance(collection, PolyCollection)]
