"""Both engines and the rank metrics against the recorded trajectories of golden/README.md."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from cbp_experiments import metrics
from cbp_experiments.engines.abilities import refusal
from cbp_experiments.engines.compiled.replacing import ReplacementArrays
from cbp_experiments.learners import Step
from cbp_experiments.learners.perturbation import Perturbing
from tests.golden_files import FOLDER, Golden, golden_files, sample
from tests.recording import Recorded, RecordedEnsemble, RecordedRun, learn_all
from tests.rounding import losses_of, nudge, rank_error, sensitivity, tolerance

AGREEMENT = 1e-9  # relative, in float64: what golden/README.md calls a good match
ENOUGH = 1_000_000  # fresh weights of one file
RESIDUE = 1e-15  # absolute, of utilities and mean activations: a 0 may be recorded as 1e-19 (golden/README.md)


def recorded_ensemble(golden: Golden, dtype: str) -> RecordedEnsemble:
    """With the noise of the file in place of a perturbation's own: drawn as [out, in], or as a convolution's weight."""
    group = RecordedEnsemble(golden.problem(dtype), [int(golden.arrays["seed"])])
    rng = np.random.default_rng([int(golden.arrays["seed"]), 3])

    def noise(step: Step, count: int, dtype: torch.dtype) -> torch.Tensor:
        """Biases are drawn before the weights of their layer, and wanted after them."""
        drawn: list[np.ndarray] = []
        for weight, bias in zip(step.network.weights, step.network.biases, strict=True):
            of_bias, shape = rng.standard_normal(bias.shape[1:]), weight.shape[1:]
            of_weight = rng.standard_normal(shape) if len(shape) == 4 else rng.standard_normal(shape[::-1]).T
            drawn += [of_weight.ravel(), of_bias]
        return torch.from_numpy(np.concatenate(drawn)).to(dtype).unsqueeze(0)

    replacements = golden.replacement_draws()

    def fresh_weights(layer: int, shape: Sequence[int], purpose: str) -> torch.Tensor:
        bound = group.problem.bounds()[layer]
        return torch.from_numpy(replacements.uniform(-bound, bound, shape)).unsqueeze(0)

    for actor in group.step.actors:
        if isinstance(actor, Perturbing):
            actor.noise = noise  # type: ignore[method-assign]
    group.step.fresh_weights = fresh_weights  # type: ignore[method-assign]
    return group


def recorded_run(golden: Golden, dtype: str) -> RecordedRun:
    run = RecordedRun(golden.problem(dtype), int(golden.arrays["seed"]))
    given = golden.replacement_draws().random(ENOUGH)
    run.run = run.run._replace(draws=run.run.draws._replace(given=given))
    return run


ENGINES: dict[str, Callable[[Golden, str], Recorded]] = {
    "ensemble": recorded_ensemble,
    "online": recorded_run,
}
ALL = golden_files()
MLPS, RANKS = golden_files("mlp"), golden_files("ranks")


def each(files: list[Golden]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("golden", files, ids=lambda golden: golden.name)


def test_the_folder_holds_golden_files() -> None:
    assert FOLDER.is_dir(), f"CBP_GOLDEN_DIR={FOLDER} is not a folder"
    assert ALL, f"no golden files in {FOLDER}"


def skip_what_is_not_there(golden: Golden, engine: str = "ensemble") -> None:
    if golden.kind not in ("mlp", "conv"):
        pytest.skip(f"{golden.name} is of the kind {golden.kind}: only MLPs and convolutional networks are supported")
    if golden.missing:
        pytest.skip(f"no learner has {', '.join(golden.missing)} yet")
    if engine == "online" and golden.hyper.get("perturb_scale"):
        pytest.skip("the online engine's noise is the same in distribution, not in values (test_noise.py)")
    if reason := refusal(engine, golden.problem("float64")):
        pytest.skip(f"the {engine} engine cannot: {reason}")


@each([golden for golden in ALL if golden.kind != "ranks"])
def test_what_the_engines_leave_out(golden: Golden) -> None:
    problem = golden.problem("float64")
    assert refusal("ensemble", problem) is None
    assert (refusal("online", problem) is None) == (golden.kind == "mlp" and not golden.hyper.get("momentum"))


@each([golden for golden in ALL if golden.kind != "ranks"])
@pytest.mark.parametrize("engine", ENGINES)
def test_float64_reproduces_the_recorded_run(engine: str, golden: Golden) -> None:
    skip_what_is_not_there(golden, engine)
    group = ENGINES[engine](golden, "float64")
    learn_all(group)
    np.testing.assert_array_equal(group.events(), golden.events)
    np.testing.assert_allclose(group.losses(), golden.arrays["loss"], rtol=AGREEMENT, atol=0)
    if "correct" in golden.arrays:
        np.testing.assert_array_equal(group.hits(), golden.arrays["correct"])
    assert_final_state(group, golden)


def assert_final_state(group: Recorded, golden: Golden) -> None:
    """Weights and biases to AGREEMENT of the layer's largest (single ones may be differences near 0), the rest each."""
    kept = group.kept()
    for layer, (weight, bias) in enumerate(zip(kept["weight"], kept["bias"], strict=True)):
        total, magnitude, *entries = sample(weight)
        recorded_total, recorded_magnitude, *recorded = golden.arrays[f"final_w{layer}"]
        assert total == pytest.approx(recorded_total, rel=0, abs=AGREEMENT * recorded_magnitude)
        assert magnitude == pytest.approx(recorded_magnitude, rel=AGREEMENT)
        np.testing.assert_allclose(entries, recorded, rtol=0, atol=AGREEMENT * np.abs(recorded).max())
        recorded_bias = golden.arrays[f"final_b{layer}"]
        np.testing.assert_allclose(bias, recorded_bias, rtol=0, atol=AGREEMENT * np.abs(recorded_bias).max())
    if golden.arrays["kind"] == "cbp":
        for layer in range(group.problem.network.depth):
            np.testing.assert_array_equal(kept["age"][layer], golden.arrays[f"final_age{layer}"])
            for ours, theirs in (("utility", "utility"), ("mean_activation", "mean_act")):
                np.testing.assert_allclose(
                    kept[ours][layer], golden.arrays[f"final_{theirs}{layer}"], rtol=AGREEMENT, atol=RESIDUE
                )


@each(MLPS)
def test_online_engine_in_float32_stays_within_rounding(golden: Golden) -> None:
    """The losses differ by no more than rounding explains (rounding.tolerance), and the replacements not at all.

    Unless two units were equally useful to within rounding when one had to go: the runs part there.
    """
    skip_what_is_not_there(golden, "online")
    group = ENGINES["online"](golden, "float32")
    learn_all(group)
    end = first_parting(group.events(), golden)
    allowed = tolerance(
        sensitivity(lambda: ENGINES["online"](golden, "float64"), lambda group: losses_of(group)[:end]),
        updates=golden.steps,
        terms=int(golden.arrays["sizes"].max()),
        dtype="float32",
    )
    assert 0 < allowed < 1e-3
    np.testing.assert_allclose(group.losses()[:end], golden.arrays["loss"][:end], rtol=0, atol=allowed)


def first_parting(events: np.ndarray, golden: Golden) -> int:
    """The update in which another unit was replaced than recorded, or the number of updates. Fails if it was no tie."""
    recorded = golden.events
    common = min(len(events), len(recorded))
    differing = np.nonzero((events[:common] != recorded[:common]).any(axis=1))[0]
    if len(differing) == 0:
        assert len(events) == len(recorded)
        return golden.steps
    update, layer, unit = recorded[differing[0]]
    assert tuple(events[differing[0]][:2]) == (update, layer), "units were due at another time"
    assert is_tie(golden, update, layer, unit, events[differing[0]][2]), f"wrong unit replaced in update {update}"
    return int(update)


def is_tie(golden: Golden, update: int, layer: int, unit: int, other: int) -> bool:
    """Whether rounding to float32 may exchange the two units in the ranking by utility."""
    exact = utilities(golden, update, layer)
    nudged = [np.abs(utilities(golden, update, layer, draw) - exact) for draw in range(3)]
    allowed = tolerance(
        float(np.max(nudged, axis=0)[[unit, other]].sum()), update + 1, int(golden.arrays["sizes"].max()), "float32"
    )
    return bool(abs(exact[unit] - exact[other]) <= allowed)


def utilities(golden: Golden, update: int, layer: int, draw: int | None = None) -> np.ndarray:
    """The bias-corrected utilities of a layer by which `update` chose its units, in float64; from nudged weights."""
    run = recorded_run(golden, "float64")
    if draw is not None:
        nudge(run, draw)
    stream = run.problem.stream
    task, offset = divmod(update, stream.task_length)
    for earlier in range(task):
        run.run_task(earlier, lambda updates: None)
    drawn = stream.task(0, task)
    assert drawn.permutation is not None
    position = np.argsort(drawn.permutation)
    run.learn(drawn.order[:offset], position, 0, lambda updates: None)
    replacement = run.part(ReplacementArrays)
    replacement.to_replace[:] = -1e9  # nothing is due
    run.learn(drawn.order[offset : offset + 1], position, 0, lambda updates: None)
    units = slice(run.problem.network.width)
    return replacement.utility[layer, units] / replacement.correction[layer, units]


@each([golden for golden in MLPS if len(golden.events)])
def test_the_most_useful_unit_does_not_pass_as_a_tie(golden: Golden) -> None:
    """What first_parting forgives: of the units of a layer, hardly any but the one that was replaced."""
    skip_what_is_not_there(golden, "online")
    update, layer, unit = golden.events[0]
    exact = utilities(golden, update, layer)
    assert is_tie(golden, update, layer, unit, unit)
    assert not is_tie(golden, update, layer, unit, int(exact.argmax()))


@each(RANKS)
def test_metrics_reproduce_the_recorded_ranks(golden: Golden) -> None:
    """The recorded effective ranks were computed in float32; the LAPACK Users' Guide, section 4.9, bounds the error of
    singular values by the machine epsilon times the largest one."""
    arrays = golden.arrays
    count = sum(name.startswith("features") for name in arrays)
    for k in range(count):
        features = torch.from_numpy(arrays[f"features{k}"]).unsqueeze(0)
        assert metrics.approximate_rank(features).item() == arrays[f"approximate_rank{k}"]
        assert metrics.absolute_approximate_rank(features).item() == arrays[f"abs_approximate_rank{k}"]
        assert metrics.dead_units(features).item() == arrays[f"dead_units{k}"]
        allowed = rank_error(min(features.shape[1:]), float(np.finfo(np.float32).eps))
        assert metrics.effective_rank(features).item() == pytest.approx(arrays[f"effective_rank{k}"], rel=allowed)
