"""How the code is laid out: imports point down, files are short, and the top level has no loose modules."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cbp_experiments

ROOT = Path(cbp_experiments.__path__[0])
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
# What everything may import; nothing here knows of an experiment.
BASE = {"errors", "scores", "seeding", "atomic", "words", "output", "progress", "signals", "compiling"}
# The packages, and which of the others each may import.
BELOW = {
    "streams": (),
    "networks": (),
    "metrics": (),
    "learners": ("networks",),
    "modules": ("learners", "networks"),
    "engines": ("learners", "metrics", "networks", "streams"),
    "results": (),
    "analysis": ("results",),
    "figures": ("analysis", "results"),
    "report": ("analysis", "figures", "results"),
    "preparing": ("streams",),
    "training": ("analysis", "engines", "learners", "metrics", "networks", "results", "streams"),
    "cli": ("analysis", "engines", "results", "training"),
}
WITHOUT_TORCH = ("results", "analysis", "figures", "report", "streams", "preparing")
LINES = 300


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, also within functions; names are listed as if they were modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_top_level_has_the_packages_and_what_all_of_them_share() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(BELOW)
    assert {path.stem for path in ROOT.glob("*.py")} == {"__init__", "__main__", *BASE}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    _, *place = module.split(".")
    if place in ([], ["__main__"]):
        return
    for name in imports(MODULES[module]):
        if name.startswith("cbp_experiments."):
            other = name.split(".")[1]
            below = BASE if place[0] in BASE else {place[0], *BASE, *BELOW[place[0]]}
            assert other in below, f"{module} imports {name}"
        elif place[0] in WITHOUT_TORCH:
            assert name.partition(".")[0] not in ("torch", "hydra", "omegaconf", "numba"), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_files_can_be_read_at_a_sitting(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= LINES


def test_a_figure_is_drawn_without_torch_in_memory() -> None:
    code = (
        "import sys, cbp_experiments.results, cbp_experiments.analysis.summaries, cbp_experiments.report.page\n"
        "print(*sorted({'torch', 'hydra', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
