"""How much each method depends on its hyperparameter (paper figure 8): the score of every setting that tuning tried."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cbp_experiments.analysis.evidence import TUNED_LEARNERS
from cbp_experiments.analysis.statistics import t_intervals
from cbp_experiments.analysis.tenths import show
from cbp_experiments.analysis.tuning import Axis, axis_of, towards_one
from cbp_experiments.figures import style
from cbp_experiments.scores import score_of

LEARNERS = TUNED_LEARNERS
HYPERPARAMETERS = {
    "learner.perturbation_std": "noise",
    "learner.dropout": "probability",
    "learner.normalization_decay": "decay",
}
WIDTH = 2.2  # of a panel, inches
CHARACTER, GAP = 0.075, 0.09  # inches, of the labels along an axis
FENCE = 1.5  # interquartile ranges: a setting further beyond the worse quartile is outside of the axes
STAR: dict[str, Any] = {
    "marker": "*",
    "linestyle": "",
    "markersize": 13,
    "markeredgecolor": "white",
    "markeredgewidth": 0.8,
}


def fig8(frame: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw the settings of each learner of LEARNERS into one of eight axes, which share their y axis.

    frame: as `evidence.load_tuning` returns it; some learners may be missing.
    """
    low, high = bounds(frame)
    for ax, learner in zip(axes, LEARNERS, strict=True):
        ax.set_ylim(low, high)
        settings_of(frame[frame["learner.name"] == learner], ax, learner)
    return axes


def bounds(frame: pd.DataFrame) -> tuple[float, float]:
    """The range of the y axes: from the best run to the worst setting that is not far worse than the others."""
    score = score_of(frame.columns)
    upwards = frame[score.column] if score.higher_is_better else -frame[score.column]
    means = upwards.groupby(frame["run"].str.rpartition("_seed")[0]).mean().dropna()
    if means.empty:
        return 0.0, score.factor
    lower, upper = means.quantile([0.25, 0.75])
    worst, best = means[means >= lower - FENCE * (upper - lower)].min(), upwards.max()
    margin = max(0.5 * 10.0 ** -(score.decimals - 2), 0.06 * (best - worst))
    low, high = float(worst - margin), float(best + margin)
    return (low, high) if score.higher_is_better else (-high, -low)


def settings_of(rows: pd.DataFrame, ax: Axes, learner: str) -> Axes:
    """Draw a learner's score over its hyperparameter, a line per step size; a dot is a seed, a star the chosen setting.

    A setting outside of the axes is a triangle at their edge; a setting with a diverged run is not drawn.
    """
    title = style.LABELS[learner]
    if rows.empty:
        heading(ax, f"{title}: no runs")
        ax.set_xticks([])
        return ax
    axis = axis_of(rows)
    at = places(rows[axis.key])
    groups = list(rows.groupby(axis.others)) if axis.others else [((), rows)]
    for variant, (values, group) in enumerate(groups):
        colour = style.shade(style.colour(learner), variant, len(groups))
        one_line(ax, group, axis.key, at, ", ".join(map(tick, values)), colour)
    chosen = rows[rows["chosen"]]
    if len(chosen):
        score = chosen[score_of(rows.columns).column].mean()
        ax.plot(at[chosen[axis.key].iloc[0]], score, color=style.colour(learner), zorder=5, **STAR)
    ticks = labelled([(place, tick(value)) for value, place in at.items()])
    ax.set_xticks(*map(list, zip(*ticks, strict=True)))
    ax.margins(x=0.08)
    if axis.others:
        style.panel_legend(ax, f"{title}: {named(axis)}", WIDTH)
    else:
        heading(ax, f"{title}: {named(axis)}")
    return ax


def heading(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", fontsize=9, fontweight="bold")


def one_line(
    ax: Axes, rows: pd.DataFrame, key: str, at: dict[object, float], label: str, colour: tuple[float, float, float]
) -> None:
    """Draw the settings that differ only in `key`: their means and 95 % t intervals, and a dot for each seed."""
    score = score_of(rows.columns)
    table = rows.pivot(index=key, columns="seed", values=score.column)
    whole = table[~rows.groupby(key)["status"].agg(lambda status: (status == "diverged").any())]
    found, x = t_intervals(whole), [at[value] for value in whole.index]
    ax.plot(x, found["mean"], color=colour, linewidth=1.6, label=label or "_line")
    for seed in whole:
        ax.plot(x, whole[seed], "o", color=colour, markersize=2.5, alpha=0.6, label="_seed")
    ax.vlines(x, found["low"], found["high"], color=colour, linewidth=1.0, alpha=0.7)
    bottom, top = ax.get_ylim()
    edge, inside, mark = (bottom, top, "v") if score.higher_is_better else (top, bottom, "^")
    outside = [place for place, mean in zip(x, found["mean"], strict=True) if not bottom <= mean <= top]
    ax.plot(outside, [edge + 0.03 * (inside - edge)] * len(outside), mark, color=colour, markersize=6, label="_outside")


def places(values: pd.Series) -> dict[object, float]:
    """Place the values of a hyperparameter along the axis, in their order: equal ratios are equal steps.

    For decays, which go towards 1, these are the ratios of 1 - value. Values that are not positive numbers are evenly
    spaced.
    """
    ordered = sorted(values.unique())
    if not pd.api.types.is_numeric_dtype(values) or ordered[0] <= 0:
        return {value: float(place) for place, value in enumerate(ordered)}
    scale = -np.log10(1 - np.array(ordered)) if towards_one(ordered) else np.log10(ordered)
    return dict(zip(ordered, scale.tolist(), strict=True))


def labelled(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Select the ticks that have room for their label. ticks: ascending places, and their labels."""
    inch = (ticks[-1][0] - ticks[0][0]) / WIDTH
    shown = [ticks[0]]
    for place, label in ticks[1:]:
        before, previous = shown[-1]
        if place - before >= inch * (CHARACTER * (len(previous) + len(label)) / 2 + GAP):
            shown.append((place, label))
    return shown


def tick(value: object) -> str:
    """Format a value as short as possible: 3e-4, 0.01."""
    if not isinstance(value, float):
        return show(value)
    digits, exponent = f"{value:e}".split("e")
    return min(show(value), f"{float(digits):g}e{int(exponent)}", key=len)


def named(axis: Axis) -> str:
    """Name what a panel is drawn over: "weight decay with noise"."""
    return " with ".join(HYPERPARAMETERS.get(key, style.words(key)) for key in (axis.key, *axis.tied))


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the eight panels, all with the same range of scores, and a legend of the marks."""
    score = score_of(frame.columns)
    outside, mark = ("below the axis", "v") if score.higher_is_better else ("above the axis", "^")
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(10.0, 6.0), layout="constrained")
        axes = fig8(frame, drawn.subplots(2, 4, sharey=True).ravel())
        for ax in axes[::4]:
            ax.set_ylabel(f"{score.title} over all tasks{score.in_brackets}")
        grey: dict[str, Any] = {"color": "#666666"}
        marks = {
            "a step size (named above the panel)": Line2D([], [], linewidth=2.0, **grey),
            "a seed": Line2D([], [], marker="o", linestyle="", markersize=3, **grey),
            "the chosen setting": Line2D([], [], **grey, **STAR),
            outside: Line2D([], [], marker=mark, linestyle="", **grey),
        }
        drawn.legend(list(marks.values()), list(marks), loc="outside upper left", ncols=len(marks), alignment="left")
        drawn.set_figheight(drawn.get_figheight() + style.LEGEND_LINE)
    return drawn
