"""What is to be said about each figure, for every page that says it: report.html and docs/reproduction.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cbp_experiments.figures.draw import PAPER, Load, sources_of
from cbp_experiments.report import provenance
from cbp_experiments.report.findings import Finding
from cbp_experiments.report.sections import SECTIONS
from cbp_experiments.sources import Source

VERDICTS = {True: "agrees with the paper", False: "not shown", None: "cannot be said"}


@dataclass(frozen=True)
class Part:
    """A figure, and what its runs say.

    there: whether any of its runs are, or it needs none. untested, reasons: as a Section has them, as far as they hold
    for these runs. missing: a sentence for what is missing, left out or mixed. made: where the runs come from, an
    experiment each.
    """

    name: str
    title: str
    paper: str
    there: bool
    findings: list[Finding]
    untested: tuple[str, ...]
    reasons: tuple[str, ...]
    missing: list[str]
    made: list[provenance.Made]

    @property
    def verdict(self) -> str:
        """The sum of the findings, in a few words."""
        if not self.there:
            return "no runs"
        if not self.findings:
            return ""
        agreeing, differing, unknown = (len(self.found(agrees)) for agrees in (True, False, None))
        if agreeing == len(self.findings):
            return VERDICTS[True]
        counts = [f"agrees in {agreeing} of {len(self.findings)} points"] if agreeing + differing else []
        return ", ".join([*counts, *([f"{unknown} cannot be said"] if unknown else [])])

    @property
    def agrees(self) -> bool | None:
        verdicts = [finding.agrees for finding in self.findings]
        return False if False in verdicts else None if None in verdicts or not self.there else True

    def found(self, agrees: bool | None) -> list[Finding]:
        """The findings of this verdict, in their order."""
        return [finding for finding in self.findings if finding.agrees is agrees]


def parts(load: Load, results_dir: Path) -> list[Part]:
    """Every figure of the paper."""
    return [part(name, sources_of(name, load), results_dir) for name in PAPER]


def part(name: str, sources: Sequence[Source], results_dir: Path) -> Part:
    """One figure, looked at."""
    section = SECTIONS[name]
    frames = [source.frame for source in sources]
    findings = section.look(frames)
    published = all(frame is not None and "scale" in frame and set(frame["scale"]) == {"paper"} for frame in frames)
    return Part(
        name=name,
        title=PAPER[name].title,
        paper=section.paper,
        there=not sources or any(frame is not None for frame in frames),
        findings=findings,
        untested=() if published else section.untested,
        reasons=() if all(finding.agrees for finding in findings) else section.reasons,
        missing=[line for source in sources for line in gaps(source, results_dir)],
        made=[provenance.made(source) for source in sources if source.frame is not None],
    )


def gaps(source: Source, results_dir: Path) -> list[str]:
    """What of an experiment is missing, left out or mixed, a sentence each, without a path of the machine."""
    if source.problem:
        return [source.problem.replace(str(results_dir), "results")]
    missing = [f"missing of {source.name}: {source.gaps}"] if source.gaps else []
    return [*missing, *(f"{source.name}: {remark}" for remark in source.remarks)]
