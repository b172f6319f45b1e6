"""The field's methods against recorded trajectories, in float64 (golden/methods/README.md)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from cbp_experiments.engines import EngineOptions, Problem
from cbp_experiments.learners import Learner
from cbp_experiments.metrics.measurements import Measurements
from tests.golden_files import FOLDER, HIDDEN_LAYERS, Golden, GoldenNetwork, GoldenStream, sample
from tests.recording import RecordedEnsemble, learn_all

AGREEMENT = 1e-9
RENAMED = {"opt": "optimizer", "util_type": "utility", "optimizer_state_on_reset": "optimizer_state"}
FILES = sorted((FOLDER / "methods").glob("*.npz"))


class MiniBatches(GoldenStream):
    """The first series' stream; a step is a mini-batch, and so is a task as many examples longer."""

    def __init__(self, seed: int, inputs: int, classes: int, steps: int, task_steps: int, batch_size: int):
        super().__init__(seed, inputs, classes, steps * batch_size, task_steps * batch_size)
        self.batch_size = batch_size


def problem_of(golden: Golden) -> Problem:
    arrays, hyper = golden.arrays, golden.hyper
    inputs, width, classes = arrays["sizes"].tolist()
    stream = MiniBatches(
        int(arrays["seed"]), inputs, classes, golden.steps, int(arrays["task_len"]), int(arrays["batch"])
    )
    activation = hyper.pop("activation", "relu")
    keys = {RENAMED.get(key, key): value for key, value in hyper.items()}
    if betas := keys.pop("betas", None):
        keys |= dict(zip(("beta1", "beta2"), betas, strict=True))
    if keys.get("normalization") == "layer_affine":
        keys["normalization"] = "layer"
    return Problem(
        stream=stream,
        network=GoldenNetwork(width, HIDDEN_LAYERS, activation),
        learner=Learner(name=golden.name, **keys),
        measurements=Measurements(features=[]),
        options=EngineOptions(device="cpu", dtype="float64"),
    )


def recorded(golden: Golden) -> RecordedEnsemble:
    problem = problem_of(golden)
    group = RecordedEnsemble(problem, [int(golden.arrays["seed"])])
    draws, bounds = golden.replacement_draws(), problem.bounds()

    def fresh_weights(layer: int, shape: Sequence[int], purpose: str) -> torch.Tensor:
        return torch.from_numpy(draws.uniform(-bounds[layer], bounds[layer], shape)).unsqueeze(0)

    group.step.fresh_weights = fresh_weights  # type: ignore[method-assign]
    return group


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_float64_reproduces_the_recorded_run(path: object) -> None:
    with np.load(str(path)) as arrays:
        golden = Golden(str(path).rpartition("/")[2].removesuffix(".npz"), dict(arrays))
    group = recorded(golden)
    learn_all(group)
    np.testing.assert_array_equal(group.events(), golden.events)
    np.testing.assert_allclose(group.losses(), golden.arrays["loss"], rtol=AGREEMENT, atol=0)
    np.testing.assert_array_equal(group.hits(), golden.arrays["correct"])
    kept = group.kept()
    for layer, (weight, bias) in enumerate(zip(kept["weight"], kept["bias"], strict=True)):
        expected = golden.arrays[f"final_w{layer}"]
        np.testing.assert_allclose(
            sample(weight)[2:], expected[2:], rtol=0, atol=AGREEMENT * np.abs(expected[2:]).max()
        )
        expected = golden.arrays[f"final_b{layer}"]
        np.testing.assert_allclose(bias, expected, rtol=0, atol=AGREEMENT * np.abs(expected).max())
    for layer, (gain, offset) in enumerate(group.network.of_normalization):
        np.testing.assert_allclose(gain[0].detach(), golden.arrays[f"final_gain{layer}"], rtol=AGREEMENT)
        np.testing.assert_allclose(offset[0].detach(), golden.arrays[f"final_offset{layer}"], rtol=0, atol=AGREEMENT)


def test_there_are_files() -> None:
    assert len(FILES) >= 8


def test_a_file_is_told_from_its_neighbour() -> None:
    """The test above would find decay that is coupled, or a norm without its offset."""
    with np.load(FOLDER / "methods" / "adamw.npz") as arrays:
        golden = Golden("adamw", dict(arrays))
    problem = problem_of(golden)
    group = RecordedEnsemble(replace(problem, learner=replace(problem.learner, optimizer="adam")), [59])
    learn_all(group)
    assert not np.allclose(group.losses(), golden.arrays["loss"], rtol=1e-3)
