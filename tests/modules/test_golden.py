"""UnitReplacer on torch.nn.Sequential, with torch's SGD or cbp.Adam, against the recorded runs of CBP."""

import numpy as np
import pytest

from tests.golden_files import Golden, golden_files
from tests.modules.trained import Trained
from tests.test_golden import AGREEMENT, RESIDUE

RECORDED = [golden for golden in golden_files("mlp", "conv") if golden.arrays["kind"] == "cbp" and not golden.missing]


@pytest.mark.parametrize("golden", RECORDED, ids=lambda golden: golden.name)
def test_float64_reproduces_the_recorded_run(golden: Golden) -> None:
    run = Trained(golden.problem("float64"), int(golden.arrays["seed"]))
    run.draw_from(golden.replacement_draws().random)
    run.learn_all()
    np.testing.assert_array_equal(np.array(run.events), golden.events)
    np.testing.assert_allclose(run.losses, golden.arrays["loss"], rtol=AGREEMENT, atol=0)
    kept = run.replacer.state_dict()["tensors"]
    for layer in range(len(run.replacer.units)):
        np.testing.assert_array_equal(kept[f"age_{layer}"][0], golden.arrays[f"final_age{layer}"])
        for ours, theirs in (("utility", "utility"), ("mean_activation", "mean_act")):
            recorded = golden.arrays[f"final_{theirs}{layer}"]
            np.testing.assert_allclose(kept[f"{ours}_{layer}"][0], recorded, rtol=AGREEMENT, atol=RESIDUE)


def test_the_files_cover_both_networks_and_adam() -> None:
    assert {"mlp_cbp", "mlp_cbp_adam", "conv_cbp"} <= {golden.name for golden in RECORDED}
