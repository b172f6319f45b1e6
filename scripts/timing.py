"""A row of the benchmark's table: printing it and reading it back."""

import sys
from dataclasses import dataclass
from pathlib import Path

COLUMNS = (
    ("network", 8),
    ("width", 8),
    ("learner", 12),
    ("plain", 12),
    ("ours", 12),
    ("times faster", 15),
    ("x bp", 8),
)
HEADS = "".join(head.rjust(width) for head, width in COLUMNS)


@dataclass
class Timing:
    """Times in microseconds for one update of one run."""

    network: str
    width: int
    learner: str
    plain: float
    ours: float

    @property
    def times_faster(self) -> float:
        return self.plain / self.ours

    def line(self, bp: float | None) -> str:
        """Format the row. bp: our time for BP on the same network, if it was measured."""
        of_bp = f"{self.ours / bp:.2f}" if bp else "-"
        cells = [self.network, str(self.width), self.learner, f"{self.plain:.1f}", f"{self.ours:.2f}"]
        cells += [f"{self.times_faster:.1f}", of_bp]
        return "".join(cell.rjust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True))

    def against(self, before: dict[tuple[str, int, str], float]) -> str:
        """How many times faster this is than before; `before` is the result of read_table."""
        then = before.get((self.network, self.width, self.learner))
        return f"{self.times_faster / then:17.2f}" if then else ""


def read_table(file: Path) -> dict[tuple[str, int, str], float]:
    """Read a table printed before: times faster than the plain loop, by (network, width, learner)."""
    found = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        sys.exit(f"--baseline {file} cannot be read: {error}")
    for cells in map(str.split, lines):
        if len(cells) >= len(COLUMNS) and cells[0] in ("mlp", "conv") and cells[3] != "not":
            found[cells[0], int(cells[1]), cells[2]] = float(cells[3]) / float(cells[4])
    if not found:
        sys.exit(f"--baseline {file} has no table of make bench; save one with: make bench > before.txt")
    return found
