"""What the paper found, figure by figure, in our own words; and which findings from the runs bear on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from cbp_experiments.analysis.tenths import ends
from cbp_experiments.figures import style
from cbp_experiments.figures.captions import size_name
from cbp_experiments.report.changes import change, changes, of_tasks
from cbp_experiments.report.findings import Finding, about, best_of, compare, keeps, loses, moved, moves, verdict
from cbp_experiments.report.sensitivity import comes_down, steadier

Frames = Sequence[pd.DataFrame | None]
EARLY = (11, 50)  # tasks of Continual ImageNet, after those in which every learner still improves


@dataclass(frozen=True)
class Section:
    """The text about a figure that a person writes, and how to look at the runs.

    paper: what the paper found. look: makes the findings, the most important first, from the frames of the figure's
    experiments (None for one without runs). untested: what runs below the published size do not test. reasons: likely
    reasons why the runs do not show it, used only if a finding does not agree.
    """

    paper: str
    look: Callable[[Frames], list[Finding]]
    untested: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def only(frame: pd.DataFrame, *learners: str) -> pd.DataFrame:
    return frame[frame["learner.name"].isin(learners)].reset_index(drop=True)


def each_size(look: Callable[[pd.DataFrame], list[Finding]]) -> Callable[[Frames], list[Finding]]:
    """Apply `look` to each frame that is not None; the sentences begin with the size of its runs."""

    def of_frames(frames: Frames) -> list[Finding]:
        there = [frame for frame in frames if frame is not None]
        return [
            replace(finding, text=". ".join(filter(None, [size_name(frame), finding.text])))
            for frame in there
            for finding in look(frame)
        ]

    return of_frames


def fig1(frames: Frames) -> list[Finding]:
    (frame,) = frames
    if frame is None:
        return []
    return [*falls(only(frame, "bp")), *begins_above_linear(frame), *ends_below_linear(frame)]


def falls(frame: pd.DataFrame) -> list[Finding]:
    """Whether accuracy falls from the tasks of EARLY to the last tenth, at each step size."""
    return [
        about(c, f"from {c.start:.2f} % in tasks {EARLY[0]} to {EARLY[1]} to {c.last:.2f} % in the last tenth, "
                 f"{moved(c, 'accuracy')}: {verdict(c)}", c.falls)
        for c in changes(frame, "accuracy", EARLY)
    ]  # fmt: skip


def begins_above_linear(frame: pd.DataFrame) -> list[Finding]:
    """Whether the step size of BP that is best over the first ten tasks is above the linear learner there."""
    return against_linear(frame, lambda rows: of_tasks(rows, "accuracy", 1, 10), max, "in the first ten tasks", "above")


def ends_below_linear(frame: pd.DataFrame) -> list[Finding]:
    """Whether the step size of BP that ends lowest ends below the linear learner."""
    return against_linear(frame, lambda rows: ends(rows, "accuracy")["last"], min, "in the last tenth", "below")


def against_linear(
    frame: pd.DataFrame,
    measure: Callable[[pd.DataFrame], pd.Series],
    choose: Callable[..., str],
    when: str,
    claim: str,
) -> list[Finding]:
    """Compare the BP setting with the highest or lowest (`choose`) mean of `measure` by run with the linear learner."""
    by_seed = {
        (curve.learner, curve.name): measure(curve.rows).rename(index=curve.rows.groupby("run")["seed"].first())
        for curve in style.curves(frame)
    }
    means = {name: values.mean() for (learner, name), values in by_seed.items() if learner == "bp" and len(values)}
    linear = next((values for (learner, _), values in by_seed.items() if learner == "linear"), pd.Series(dtype=float))
    if not means or linear.empty:
        return [Finding("BP against the linear learner: no complete runs to compare.", None)]
    chosen = choose(means, key=means.__getitem__)
    c = change(chosen, linear, by_seed["bp", chosen])
    where = "above" if c.rises else "below" if c.falls else "not apart from" if c.known else "next to"
    text = f"{c.last:.2f} % {when}, {where} the linear learner with {c.start:.2f} %; {moved(c, 'accuracy')}"
    return [about(c, text, c.rises if claim == "above" else c.falls)]


def fig2b(frames: Frames) -> list[Finding]:
    names = ("Step sizes", "Widths", "Rates of change", "Published size")
    found = []
    for name, frame in zip(names, frames, strict=True):
        if frame is not None:
            rates = "data.task_length" in frame and frame["data.task_length"].nunique() > 1
            rows = frame.drop(columns="data.tasks") if rates else frame  # it says the same as task_length
            found += [Finding(f"{name}. {finding.text}", finding.agrees) for finding in loses(rows)]
    return found


def width_2000(frames: Frames) -> list[Finding]:
    (frame,) = frames
    if frame is None:
        return []
    found = [
        *moves(frame, "accuracy", "rises"),
        *within(frame),
        *compare(frame, "accuracy", "cbp", ["bp"], "above"),
        *compare(frame, "effective_rank", "cbp", ["bp"], "above"),
    ]
    return [replace(finding, claim=False) for finding in found]


def fig3(frames: Frames) -> list[Finding]:
    (frame,) = frames
    return [] if frame is None else within(frame)


def within(frame: pd.DataFrame) -> list[Finding]:
    return [
        *moves(frame, "dead_units", "rises"),
        *moves(frame, "weight_magnitude", "rises"),
        *moves(frame, "effective_rank", "falls"),
    ]


@each_size
def fig4(frame: pd.DataFrame) -> list[Finding]:
    return [
        *moves(only(frame, "bp", "dropout", "onlinenorm", "adam"), "accuracy", "falls"),
        *compare(frame, "accuracy", "l2", ["bp"], "above"),
        *compare(frame, "accuracy", "snp", ["bp"], "above"),
        *keeps(frame, "cbp"),
        *best_of(frame, "cbp"),
    ]


@each_size
def fig5(frame: pd.DataFrame) -> list[Finding]:
    return [
        *within(only(frame, "bp")),
        *compare(frame, "weight_magnitude", "l2", ["bp"], "below"),
        *compare(frame, "weight_magnitude", "snp", ["bp"], "below"),
        *cbp_within(frame),
    ]


def cbp_within(frame: pd.DataFrame) -> list[Finding]:
    """Compare CBP with BP, as the paper does, and with the methods that may be as accurate."""
    others = ["l2", "snp"]
    beside = [
        *compare(frame, "effective_rank", "cbp", others, "above"),
        *compare(frame, "dead_units", "cbp", others, "below"),
    ]
    return [
        *compare(frame, "dead_units", "cbp", ["bp"], "below"),
        *compare(frame, "weight_magnitude", "cbp", ["bp"], "below"),
        *compare(frame, "effective_rank", "cbp", ["bp"], "above"),
        *(replace(finding, claim=False) for finding in beside),
    ]


@each_size
def fig6(frame: pd.DataFrame) -> list[Finding]:
    return [
        *keeps(frame, "cbp"),
        *compare(frame, "accuracy", "cbp", ["snp", "l2", "bp"], "above"),
        *cbp_within(frame),
    ]


def fig7(frames: Frames) -> list[Finding]:
    (frame,) = frames
    if frame is None:
        return []
    return [
        *moves(only(frame, "bp"), "accuracy", "falls"),
        *moves(only(frame, "cbp"), "accuracy", "rises"),
        *compare(frame, "accuracy", "cbp", ["snp", "l2", "bp"], "above"),
    ]


def fig8(frames: Frames) -> list[Finding]:
    (frame,) = frames
    if frame is None:
        return []
    return [*steadier(frame, "cbp", ["l2", "snp"]), *comes_down(frame)]


_FIGURE_8 = {
    "untested": ("2000 units a layer, and the published grids there",),
    "reasons": (
        "How steady a method looks depends on the range of its grid. In a layer of 100 units a rate of 1e-6 replaces "
        "one unit in 10,000 updates, where it replaces one in 500 in the published 2000: low rates may do too little.",
    ),
}
SECTIONS = {
    "fig1": Section(
        "Backpropagation learns its first tasks well and loses that ability: from about 89 % on early tasks, test "
        "accuracy falls to about 77 % on the 2000th, about the level of a linear learner. It falls at every step size.",
        fig1,
        untested=(
            "2000 tasks, all 1000 classes of ImageNet, the full width and 250 epochs a task",
            "the step sizes 0.001 and 0.0001",
        ),
        reasons=(
            "A task has far fewer updates here than the published 3,000. Small steps may not get far in so few, and "
            "loss of plasticity may need more tasks to show.",
            "With few seeds, one run that learns late or stops learning makes an interval wide.",
        ),
    ),
    "fig2a": Section("Every task shows the same images under a pixel permutation of its own.", lambda frames: []),
    "fig2b": Section(
        "Online accuracy of backpropagation falls over the tasks, at every step size, every width of the network and "
        "every rate of change.",
        fig2b,
        untested=(
            "widths of 1000, 2000 and 10,000 units a layer over 800 tasks",
            "rates of change on all of MNIST, up to a million examples a task",
        ),
        reasons=(
            "In a long task the same 5,000 images come many times, and there are few tasks in all: the loss may be too "
            "small to show.",
        ),
    ),
    "fig2b_width_2000": Section(
        "What figures 2 and 6 show over 800 tasks begins here: 2000 units a layer, tasks of 60,000 examples, the "
        "published settings. The paper makes no claim about the first 30 tasks alone.",
        width_2000,
    ),
    "fig3": Section(
        "While backpropagation loses plasticity, more and more units are dead, the weights grow, and the effective "
        "rank of what the hidden layers represent falls, at all three step sizes.",
        fig3,
        untested=("2000 units a layer, tasks of 60,000 examples",),
        reasons=("Small steps change a network slowly; more or longer tasks may be needed to see it.",),
    ),
    "fig4": Section(
        "Adam, dropout and normalization lose plasticity as backpropagation does. L2 regularization and shrink and "
        "perturb lose less. Only continual backpropagation keeps its accuracy.",
        fig4,
        untested=("2000 units a layer over 800 tasks",),
        reasons=(
            "The networks are a twentieth as wide as the published ones. Settings that are published for 2000 units "
            "may be wrong for 100; and where each method has settings tuned for 100, strong weight decay may do much "
            "of what replacing units does.",
        ),
    ),
    "fig5": Section(
        "Backpropagation gathers dead units and large weights and loses rank. Weight decay keeps weights small, in L2 "
        "as in shrink and perturb. Continual backpropagation has few dead units, small weights and a high rank.",
        fig5,
        untested=("2000 units a layer over 800 tasks",),
        reasons=(
            "Step sizes tuned for accuracy may be ones at which backpropagation changes little, and strong weight "
            "decay may keep weights smaller than replacing units does.",
        ),
    ),
    "fig6": Section(
        "Against backpropagation, L2 and shrink and perturb, only continual backpropagation keeps its accuracy over "
        "all tasks, with few dead units, small weights and a high effective rank.",
        fig6,
        untested=("2000 units a layer over 800 tasks, with a replacement rate of 1e-6",),
        reasons=(
            "As for figure 4: in a network of 100 units a layer, strong weight decay may do much of what replacing "
            "units does.",
        ),
    ),
    "fig7": Section(
        "Over 5000 tasks of Continual ImageNet, continual backpropagation ends above where it was on its first tasks, "
        "and above shrink and perturb, L2 and backpropagation, which loses accuracy.",
        fig7,
        untested=("5000 tasks, all 1000 classes of ImageNet, the full width and 250 epochs a task",),
        reasons=(
            "One run that stops learning moves the mean of a few by many points, and makes its interval wide.",
            "Fewer tasks, and fewer updates in each, leave less plasticity to lose.",
        ),
    ),
    "fig8": Section(
        "Continual backpropagation does well over a wide range of replacement rates, while L2 and shrink and perturb "
        "depend much on their hyperparameter.",
        fig8,
        **_FIGURE_8,
    ),
    "fig8_published_size": Section("The same claim; see figure 8.", fig8, **_FIGURE_8),
}
