"""The words around a figure: its title, and a caption with what is shown, the number of runs, the scale and data."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from cbp_experiments.analysis.evidence import Evidence
from cbp_experiments.analysis.tenths import collapsed, show
from cbp_experiments.figures import style
from cbp_experiments.figures.panels import Bins
from cbp_experiments.words import count

SCALES = {
    "smoke": "scale smoke: it only shows that everything works",
    "laptop": "scale laptop: smaller than published",
    "paper": "scale paper: the published size",
}
TITLE_HEIGHT = 0.3  # inches
TITLE_FONT: dict[str, Any] = {"size": 11, "weight": "bold"}
CAPTION_LINE = 0.14
CHARACTERS = 16.0  # of the caption, per inch
PUBLISHED_EXAMPLES = 48_000_000
PUBLISHED_WIDTHS = (100, 1000, 2000, 10_000)


def frame_with_words(figure: Figure, title: str, caption: str) -> Figure:
    """Write the title above everything in the figure, its legend included, and the caption below it.

    figure: has constrained layout, which makes room for both; the figure grows by their heights.
    """
    if figure.legends:  # the layout can put only one thing above the panels
        figure.legends[0].set_title(title, prop=FontProperties(**TITLE_FONT))
    elif title:
        figure.suptitle(title, x=0.01, ha="left", **TITLE_FONT)
    width = int(CHARACTERS * figure.get_figwidth())
    text = "\n".join(textwrap.fill(line, width) for line in caption.splitlines())
    lines = len(text.splitlines())
    figure.set_figheight(figure.get_figheight() + TITLE_HEIGHT * bool(title) + CAPTION_LINE * lines)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color="#444444")
    return figure


def caption(sources: Sequence[Evidence], bins: Bins, *notes: str) -> str:
    """Say what the lines are; then, a line per experiment: runs, data, scale, sizes, bins, what is missing or left out.

    bins: as they are drawn; notes: added to the first line.
    """
    if not sources:
        return "; ".join(notes)
    facts = [
        f"{source.name}: {facts_of(source, bins)}{lacking(source)}" for source in sources if source.frame is not None
    ]
    nothing = [f"{source.name}: no runs." for source in sources if source.frame is None]
    general = "; ".join(["Mean and 95 % t interval over seeds", *notes])
    return "\n".join([f"{general}.", *facts, *nothing])


def facts_of(source: Evidence, bins: Bins) -> str:
    assert source.frame is not None
    if source.is_tuning:
        return tried(source.frame)
    return f"{about(source.frame)} {points(source.frame, bins)}.{fallen(source.frame)}"


def tried(frame: pd.DataFrame) -> str:
    """Give the facts of a tuning in a few sentences."""
    settings = frame["run"].str.rpartition("_seed")[0]
    counts = sorted(settings.groupby(frame["learner.name"]).nunique().unique())
    number = " / ".join(map(str, counts))
    facts = [
        f"{number} settings a learner",
        f"seeds {', '.join(map(str, sorted(frame['seed'].unique())))}",
        named(frame[frame["status"] == "complete"], "tasks", "{} tasks"),
    ]
    diverged = frame[frame["status"] == "diverged"].groupby("learner.name")["run"].count()
    words = [f"{count(runs, 'run')} of {style.LABELS.get(name, name)}" for name, runs in diverged.items()]
    lost = f" Diverged, and left out with their settings: {', '.join(words)}." if words else ""
    return f"{', '.join(facts)}.{lost}"


def about(frame: pd.DataFrame) -> str:
    """Give the facts of an experiment in one sentence."""
    facts = [
        seeds(frame),
        named(frame, "data_description", "{}"),
        size(frame),
        named(frame, "network.width", "width {}"),
        named(frame, "data.tasks", "{} tasks"),
        named(frame, "data.task_length", "{} examples a task"),
        named(frame, "data.epochs", "{} epochs a task"),
        named(frame, "data.train_images", "{} training images a class"),
    ]
    return f"{', '.join(filter(None, facts))}."


def points(frame: pd.DataFrame, bins: Bins) -> str:
    """Say how many tasks a point of a line covers: "Bins of 8 tasks"."""
    sizes = sorted({bins(curve.tasks) for curve in style.curves(frame)})
    return "A point a task" if sizes == [1] else f"Bins of {' / '.join(map(str, sizes))} tasks"


def fallen(frame: pd.DataFrame) -> str:
    """Count the collapsed runs of each setting in a sentence; empty if there are none."""
    words = [f"{curve.name}: {text}" for curve in style.curves(frame) if (text := collapsed(curve.rows))]
    return f" At chance in the last tenth, and part of the mean: {'; '.join(words)}." if words else ""


def lacking(source: Evidence) -> str:
    missing = [f"missing: {source.gaps}"] if source.gaps else []
    return "".join(f" {line[0].upper()}{line[1:]}." for line in [*missing, *source.remarks])


def seeds(frame: pd.DataFrame) -> str:
    """Say how many runs a mean is over: "5 seeds", "5 seeds (4 for CBP)", "3 to 5 seeds"."""
    counts = {curve.name: curve.rows["run"].nunique() for curve in style.curves(frame)}
    (usual, _), *_ = Counter(counts.values()).most_common(1)
    others = [f"{count} for {name}" for name, count in counts.items() if count != usual]
    if len(others) > 2:
        return f"{min(counts.values())} to {max(counts.values())} seeds"
    text = count(usual, "seed")
    return f"{text} ({'; '.join(others)})" if others else text


def size(frame: pd.DataFrame) -> str:
    """Name the scale, and how it compares with the published size."""
    if is_published_size(frame):
        return "published size"
    scales = frame["scale"].unique() if "scale" in frame else []
    return " / ".join(SCALES.get(scale, f"scale {scale}") for scale in scales)


def size_name(frame: pd.DataFrame) -> str:
    """Name the size of the runs in a few words: "Laptop scale"; empty if it is not recorded."""
    if is_published_size(frame):
        return "Published task size"
    return " / ".join(f"{scale} scale".capitalize() for scale in frame["scale"].unique()) if "scale" in frame else ""


def heading(frame: pd.DataFrame) -> str:
    """Write the heading above the panels of one size: "Laptop scale: 5,000 images a task"."""
    images = named(frame, "data.task_length", "{} images a task")
    width = named(frame, "network.width", "width {}") if is_published_size(frame) else ""
    return ": ".join(filter(None, [size_name(frame), ", ".join(filter(None, [images, width]))]))


def is_published_size(frame: pd.DataFrame) -> bool:
    """Whether the runs have the published size: all of MNIST, 48 million examples, and one of the paper's widths."""
    keys = ("data.source", "data.tasks", "data.task_length", "network.width")
    if any(key not in frame for key in keys):
        return False
    examples = frame["data.tasks"] * frame["data.task_length"]
    widths = frame["network.width"].isin(PUBLISHED_WIDTHS)
    return bool(((frame["data.source"] == "mnist") & (examples == PUBLISHED_EXAMPLES) & widths).all())


def named(frame: pd.DataFrame, column: str, text: str) -> str:
    """Format the values of a config column in words; empty if the runs do not have it."""
    values = sorted(frame[column].dropna().unique()) if column in frame else []
    parts = [f"{value:,}" if isinstance(value, int | np.integer) else show(value) for value in values]
    return text.format(" / ".join(parts)) if parts else ""
