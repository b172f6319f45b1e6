"""What a command imports: PyTorch takes seconds, and most of the rest is not for every command."""

import subprocess
import sys

import pytest

HEAVY = ("matplotlib", "numba", "pandas", "scipy.stats", "sympy", "torch", "torch._dynamo", "torchvision")
PLAN = f"""
import sys
from cbp_experiments.command_line import compose

def heavy():
    return [name for name in {HEAVY} if name in sys.modules]

(composed,) = compose()
print("composed:", *heavy())
from cbp_experiments import jobs, runner
from cbp_experiments.config import build_job
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
