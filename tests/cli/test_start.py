"""What a command imports: PyTorch takes seconds, and most of the rest is not for every command."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import TINY, spawn

HEAVY = (
    "matplotlib",
    "numba",
    "pandas",
    "scipy.stats",
    "statsmodels",
    "sympy",
    "torch",
    "torch._dynamo",
    "torchvision",
)
PLAN = f"""
import sys
from cbp_experiments.cli.compose import compose

def heavy():
    return [name for name in {HEAVY} if name in sys.modules]

(composed,) = compose()
print("composed:", *heavy())
from cbp_experiments.cli import jobs
from cbp_experiments.training import runner
from cbp_experiments.training.job import build_job
runner.plan(build_job(composed.config))
print("planned:", *heavy())
"""


@pytest.mark.parametrize(
    ("overrides", "planned"),
    [
        (["data=permuted_mnist", "learner=bp"], "planned: numba torch"),
        (["data=permuted_mnist", "learner=bp", "engine=ensemble"], "planned: torch"),
        (["data=continual_imagenet", "data.source=synthetic", "network=conv"], "planned: torch"),
    ],
)
def test_a_job_imports_what_it_needs(overrides: list[str], planned: str) -> None:
    command = [sys.executable, "-c", PLAN, "scale=smoke", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["composed:", planned]


@pytest.mark.slow
def test_a_cold_start_says_before_the_wait_that_it_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "compiled"))
    base = [setting for setting in TINY if not setting.startswith(("seeds", "engine.workers"))]
    for said in (1, 0):
        process = spawn("learner=bp", "seeds=2", "engine.workers=2", "force=true", *base, cwd=tmp_path)
        out, err = process.communicate()
        assert process.returncode == 0, err
        before_training, _, rest = out.partition("  to do ")
        assert before_training.count("compiling (once, about ") == said
        assert "compiling" not in rest + err
