"""Collects what report.html and docs/reproduction.md say about each figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from cbp_experiments.analysis.evidence import Evidence
from cbp_experiments.figures.draw import PAPER, Entry, Load, empty, shown, sources_of
from cbp_experiments.report import provenance
from cbp_experiments.report.findings import Finding
from cbp_experiments.report.sections import SECTIONS
from cbp_experiments.results import results_dir_option

VERDICTS = {True: "agrees with the paper", False: "not shown", None: "cannot be said"}


class Drawn(NamedTuple):
    """A figure, and what it is drawn from."""

    entry: Entry
    sources: list[Evidence]


@dataclass(frozen=True)
class Chapter:
    """A figure of the paper, and what its runs say.

    drawn: the figure, then the one at the published settings, if that is another; empty without runs. untested,
    reasons: those of the Section, if they apply to these runs. missing: one sentence for each thing that is missing,
    left out or mixed. made: where the runs come from, one item per experiment.
    """

    name: str
    title: str
    paper: str
    drawn: list[Drawn]
    findings: list[Finding]
    untested: tuple[str, ...]
    reasons: tuple[str, ...]
    missing: list[str]
    made: list[provenance.Made]

    @property
    def verdict(self) -> str:
        """The findings, summed up in a few words."""
        if not self.drawn:
            return "no runs"
        agreeing, differing, unknown = (len(self.found(agrees)) for agrees in (True, False, None))
        claims = agreeing + differing + unknown
        if not claims:
            return ""
        if agreeing == claims:
            return VERDICTS[True]
        counts = [f"agrees in {agreeing} of {claims} points"] if agreeing + differing else []
        return ", ".join([*counts, *([f"{unknown} cannot be said"] if unknown else [])])

    @property
    def agrees(self) -> bool | None:
        return False if self.found(False) else None if self.found(None) or not self.drawn else True

    def found(self, agrees: bool | None) -> list[Finding]:
        """Return the findings with this verdict on the paper's claims, in their order."""
        return [finding for finding in self.findings if finding.claim and finding.agrees is agrees]

    @property
    def beside(self) -> list[Finding]:
        """The findings about which the paper makes no claim."""
        return [finding for finding in self.findings if not finding.claim]


def chapters(load: Load, results_dir: Path) -> list[Chapter]:
    """Make a chapter for every figure of the paper."""
    return [chapter(name, load, results_dir) for name in PAPER]


def chapter(name: str, load: Load, results_dir: Path) -> Chapter:
    """Make the chapter of one figure, from runs at the published settings if there are no others."""
    wanted, section = PAPER[name], SECTIONS[name]
    entry, beneath = shown(wanted, load), wanted.at_published
    first, published = sources_of(wanted, load), sources_of(beneath, load)
    sources = first if entry is wanted else published
    has_published = entry is wanted and bool(published) and not empty(published)
    named = first + published if has_published or empty(first) else first
    drawn = [Drawn(entry, sources), *([Drawn(beneath, published)] if has_published else [])]
    findings = section.look([source.frame for source in sources])
    return Chapter(
        name=name,
        title=entry.heading,
        paper=section.paper,
        drawn=[] if empty(sources) else drawn,
        findings=findings,
        untested=() if all(map(at_paper_scale, sources)) else section.untested,
        reasons=() if all(finding.agrees for finding in findings if finding.claim) else section.reasons,
        missing=[line for source in named for line in gaps(source, results_dir)],
        made=[provenance.made(source) for source in named if source.frame is not None],
    )


def template(name: str, *, keep_trailing_newline: bool = False) -> Template:
    """Load the template of a page; HTML templates escape values."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=keep_trailing_newline,
        undefined=StrictUndefined,
    )
    return environment.get_template(name)


def at_paper_scale(source: Evidence) -> bool:
    return source.frame is not None and "scale" in source.frame and set(source.frame["scale"]) == {"paper"}


def gaps(source: Evidence, results_dir: Path) -> list[str]:
    """Say what is missing, left out or mixed in an experiment, a sentence each, without paths of this machine."""
    if source.problem:
        return [source.problem.replace(results_dir_option(results_dir), "").replace(str(results_dir), "results")]
    missing = [f"missing of {source.name}: {source.gaps}"] if source.gaps else []
    return [*missing, *(f"{source.name}: {remark}" for remark in source.remarks)]
