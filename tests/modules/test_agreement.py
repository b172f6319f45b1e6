"""UnitReplacer against the ensemble engine, with the random draws of each: the same run from the same seed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.modules.trained import Trained
from tests.problems import CBP, tiny_problem
from tests.recording import RecordedEnsemble, learn_all

SEED = 7
LEARNERS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum kept": {"momentum": 0.9},
    "momentum reset": {"momentum": 0.9, "reset_momentum": True},
    "adam": {"optimizer": "adam", "step_size": 0.003},
    "adam, moments only": {"optimizer": "adam", "step_size": 0.003, "optimizer_state": "moments"},
    "adamw": {"optimizer": "adamw", "step_size": 0.003, "weight_decay": 0.1},
    "batch normalization": {"normalization": "batch"},
    "layer normalization": {"normalization": "layer", "momentum": 0.9, "reset_momentum": True},
    "layer normalization kept": {"normalization": "layer", "reset_normalization": False},
    "random units": {"utility": "random"},
}


@pytest.mark.parametrize("keys", LEARNERS.values(), ids=LEARNERS)
def test_a_module_learns_as_the_ensemble_engine(keys: dict[str, Any]) -> None:
    problem = tiny_problem(replace(CBP, **keys), tasks=1, task_length=400, batch_size=5)
    engine = RecordedEnsemble(problem, [SEED])
    learn_all(engine)
    run = Trained(problem, SEED)
    run.learn_all()
    assert len(run.events) > 20
    np.testing.assert_array_equal(np.array(run.events), engine.events())
    np.testing.assert_allclose(run.losses, engine.losses(), rtol=1e-9)
    last = run.module[-1].get_parameter("weight").detach()
    torch.testing.assert_close(last, engine.network.weights[-1][0].detach().T, rtol=1e-9, atol=1e-12)
