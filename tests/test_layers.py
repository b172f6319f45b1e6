"""Imports point down one line only: conf -> runs -> engine -> learner, network, stream -> results -> figures."""

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
READERS = tuple(
    f"cbp_experiments.{name}"
    for name in ("results", "summary", "summarize", "sources", "analysis", "figures", "report")
)
PARTS = tuple(f"cbp_experiments.{name}" for name in ("metrics", "measurements", "networks", "streams", "learners"))
ABOVE_PARTS = tuple(
    f"cbp_experiments.{name}"
    for name in ("runner", "engines", "config", "announce", "results", "summary", "figures", "preparing")
)


def belongs(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, also within functions; names are listed as if they were modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_of(packages: tuple[str, ...]) -> list[str]:
    modules = [module for module in MODULES if belongs(module, packages)]
    assert len(modules) >= len(packages), "a package was renamed: look after this test"
    return modules


@pytest.mark.parametrize("module", modules_of(READERS))
def test_results_and_figures_know_nothing_of_training(module: str) -> None:
    forbidden = ("torch", "hydra", "omegaconf", "numba", *PARTS, *ABOVE_PARTS)
    allowed = READERS
    for name in imports(MODULES[module]):
        assert not belongs(name, forbidden) or belongs(name, allowed), f"{module} imports {name}"


@pytest.mark.parametrize("module", modules_of(PARTS))
def test_the_parts_of_a_run_know_nothing_of_engines_and_runner(module: str) -> None:
    for name in imports(MODULES[module]):
        assert not belongs(name, ABOVE_PARTS), f"{module} imports {name}"


@pytest.mark.parametrize("module", modules_of(("cbp_experiments.engines",)))
def test_engines_know_nothing_of_the_runner(module: str) -> None:
    for name in imports(MODULES[module]):
        assert not belongs(name, tuple(set(ABOVE_PARTS) - {"cbp_experiments.engines"})), f"{module} imports {name}"


def test_preparing_knows_only_what_the_cache_is() -> None:
    forbidden = tuple({*PARTS, *ABOVE_PARTS} - {"cbp_experiments.preparing", "cbp_experiments.streams"})
    for module in modules_of(("cbp_experiments.preparing",)):
        for name in imports(MODULES[module]):
            assert not belongs(name, forbidden), f"{module} imports {name}"


def test_streams_and_their_preparation_are_numpy_only() -> None:
    for module in modules_of(("cbp_experiments.streams", "cbp_experiments.preparing")):
        assert not any(belongs(name, ("torch", "hydra", "omegaconf")) for name in imports(MODULES[module])), module


def test_a_figure_is_drawn_without_torch_in_memory() -> None:
    code = (
        "import sys, cbp_experiments.results, cbp_experiments.summary, cbp_experiments.report.page\n"
        "print(*sorted({'torch', 'hydra', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
