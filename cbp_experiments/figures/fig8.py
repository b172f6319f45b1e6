"""How much each method depends on its hyperparameter (paper figure 8): online accuracy, and where it ends."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cbp_experiments.analysis.statistics import t_interval
from cbp_experiments.figures import panels, style
from cbp_experiments.summary import ends, show

LEARNERS = ("bp", "l2", "snp", "dropout", "onlinenorm", "adam", "cbp")
HYPERPARAMETERS = {
    "learner.perturbation_std": "noise",
    "learner.dropout": "probability",
    "learner.normalization_decay": "decay",
}
WIDTH = 2.5  # of a panel, inches
SPREAD = 0.13  # between the settings of a learner in the last panel, where learners are 1 apart


def fig8(frame: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw into eight axes: the settings of each learner; the final accuracy of all of them.

    frame: as `results.load_experiment` returns it; the learners of LEARNERS, of which some may be missing.
    """
    for ax, learner in zip(axes[:-1], LEARNERS, strict=True):
        settings_of(frame[frame["learner.name"] == learner], ax, learner)
    final_accuracy(frame, axes[-1])
    return axes


def settings_of(rows: pd.DataFrame, ax: Axes, learner: str) -> Axes:
    """Online accuracy of one learner: a line for each setting, named by what it is, in a legend above."""
    ax.set(xlabel="Task", ylabel=panels.ONLINE)
    title = style.LABELS[learner]
    if rows.empty:
        ax.set_title(f"{title}: no runs", loc="left", fontsize=9, fontweight="bold")
        ax.set_xticks([])
        return ax
    curves = style.curves(rows)
    for curve in curves:
        style.draw_curve(ax, curve, "accuracy", panels.FINE(curve.tasks), label=curve.marked(value_of(curve)))
    varied = [HYPERPARAMETERS.get(name, style.words(name)) for name in curves[0].values]
    style.panel_legend(ax, ": ".join([title, *varied[:1]]), WIDTH)
    return ax


def final_accuracy(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Accuracy over the last tenth of the tasks: a point per setting, with its 95 % t interval over seeds."""
    for place, learner in enumerate(LEARNERS):
        rows = frame[frame["learner.name"] == learner]
        curves = style.curves(rows) if len(rows) else []
        for variant, curve in enumerate(curves):
            last = ends(rows[rows["run"].isin(curve.rows["run"])], "accuracy")["last"].to_numpy()
            if len(last):
                _, low, high, _ = t_interval(last)
                x = place + SPREAD * (variant - (len(curves) - 1) / 2)
                ax.plot([x, x], [low, high], color=curve.colour, linewidth=1.2)
                ax.plot(x, last.mean(), "o", color=curve.colour, markersize=3.5, label=curve.label)
    names = [style.LABELS[learner].replace(" ", "\n") for learner in LEARNERS]
    ax.set_xticks(range(len(LEARNERS)), names, fontsize=7, rotation=45)
    ax.set_ylabel("Final accuracy (%)")
    ax.set_title("All settings at the end", loc="left", fontsize=9, fontweight="bold")
    return ax


def value_of(curve: style.Curve) -> str:
    return ", ".join(map(show, curve.values.values())) or style.LABELS[curve.learner]


def figure(frame: pd.DataFrame) -> Figure:
    """Seven small panels and the one of the ends, all with one range of accuracies."""
    with matplotlib.rc_context(style.RC):
        drawn = Figure(figsize=(11.5, 6.4), layout="constrained")
        axes = fig8(frame, drawn.subplots(2, 4, sharey=True).ravel())
        for i, ax in enumerate(axes[:-1]):
            if i % 4:
                ax.set_ylabel("")
    return drawn
