"""Metrics on cases whose value is known, and the columns they become."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cbp_experiments import metrics
from cbp_experiments.errors import ConfigError
from cbp_experiments.metrics.measurements import Measurements

RANKS = [metrics.effective_rank, metrics.approximate_rank, metrics.absolute_approximate_rank]


def with_singular_values(values: list[float], examples: int = 7, seed: int = 0) -> Tensor:
    """A matrix `[1, examples, len(values)]` between random orthogonal bases."""
    rng = np.random.default_rng(seed)
    n = len(values)
    left = np.linalg.qr(rng.normal(size=(max(examples, n), n)))[0]
    right = np.linalg.qr(rng.normal(size=(n, n)))[0]
    matrix = left @ np.diag(values) @ right
    return torch.from_numpy(matrix if examples >= n else matrix.T).unsqueeze(0)


def test_dead_units_are_those_that_are_off_on_every_example() -> None:
    first = [[0.0, 1.0, 0.0, -2.0], [0.0, 0.0, 0.0, 1.0], [0.0, 3.0, 1e-30, 0.0]]
    second = [[0.0] * 4, [0.0] * 4, [0.0, 0.0, 5.0, 0.0]]
    assert metrics.dead_units(torch.tensor([first, second])).tolist() == [1, 3]


def test_dormant_units_are_compared_with_their_layers_mean() -> None:
    """Mean |activation| 0, 0.5, 10 and 89.5: the layer's mean is 25, a 50th of which is 0.5."""
    features = torch.tensor([[[0.0, -0.5, 20.0, 89.0], [0.0, 0.5, 0.0, -90.0]]])
    assert metrics.dormant_units(features, threshold=0.0201).tolist() == [2]
    assert metrics.dormant_units(features, threshold=0.0199).tolist() == [1]
    assert metrics.dormant_units(features, threshold=0).tolist() == metrics.dead_units(features).tolist()
    assert metrics.dormant_units(features).tolist() == [1]


def test_effective_rank_of_orthogonal_columns_is_their_number() -> None:
    features = torch.eye(6)[:, :4].unsqueeze(0)
    assert metrics.effective_rank(features).item() == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize("metric", RANKS)
def test_ranks_of_a_single_direction_are_1(metric: Callable[[Tensor], Tensor]) -> None:
    features = torch.outer(torch.arange(1.0, 7), torch.tensor([1.0, -2.0, 0.0, 3.0])).unsqueeze(0)
    # the other singular values, 0 exactly, come out below 1e-7 of the largest: 3 terms of -p log p below 2e-6
    assert metric(features).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("metric", RANKS)
def test_a_layer_of_zeros_has_rank_0(metric: Callable[[Tensor], Tensor]) -> None:
    assert metric(torch.zeros(2, 5, 3)).tolist() == [0, 0]


@pytest.mark.parametrize("examples", [3, 4, 30])
def test_effective_rank_is_the_exponential_of_the_entropy(examples: int) -> None:
    p = np.array([0.5, 0.25, 0.125, 0.125])
    expected = math.exp(-(p * np.log(p)).sum())
    features = with_singular_values([8.0, 4.0, 2.0, 2.0], examples)
    assert features.shape[1] == max(examples, 4)
    assert metrics.effective_rank(features).item() == pytest.approx(expected, rel=1e-12)
    assert metrics.effective_rank(features.mT).item() == pytest.approx(expected, rel=1e-12)
    assert metrics.effective_rank(1e6 * features).item() == pytest.approx(expected, rel=1e-12)


def test_approximate_ranks_count_to_the_share() -> None:
    """Of 10, 4, 1, 1 the squares are 100, 16, 1, 1 of 118: 85 %, 98.3 %, 99.2 %; the values 62 %, 87 %, 94 % of 16."""
    features = with_singular_values([10.0, 4.0, 1.0, 1.0])
    assert metrics.approximate_rank(features).tolist() == [3]
    assert metrics.approximate_rank(features, share=0.98).tolist() == [2]
    assert metrics.approximate_rank(features, share=0.8).tolist() == [1]
    assert metrics.absolute_approximate_rank(features).tolist() == [4]
    assert metrics.absolute_approximate_rank(features, share=0.9).tolist() == [3]
    assert metrics.absolute_approximate_rank(features, share=0.6).tolist() == [1]


@pytest.mark.parametrize("metric", [metrics.dead_units, metrics.dormant_units, *RANKS])
def test_each_run_is_measured_for_itself(metric: Callable[[Tensor], Tensor]) -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.relu(torch.randn(4, 30, 8, generator=rng) - torch.arange(8) / 2)
    values = metric(features)
    assert values.shape == (4,)
    assert values.tolist() == [metric(run.unsqueeze(0)).item() for run in features]


def test_singular_values_are_those_of_an_svd() -> None:
    matrix = torch.randn(50, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    matrix[:, 7] = 0  # a column of zeros is left out, and its singular value 0 with it
    expected = np.linalg.svd(matrix.numpy(), compute_uv=False)[:19][::-1]
    # squaring the condition number (about 5) leaves 12 digits
    np.testing.assert_allclose(metrics.singular_values(matrix).numpy(), expected, rtol=1e-12)


def test_singular_values_below_the_noise_are_set_to_0() -> None:
    values = metrics.singular_values(with_singular_values([1.0, 1e-3, 1e-9])[0])
    assert values[0] == 0
    # an error of n eps of the largest eigenvalue, 1e-15, is 1e-9 of 1e-6, whose root is the second value
    np.testing.assert_allclose(values[1:], [1e-3, 1.0], rtol=1e-9)


def test_weight_magnitude_is_the_mean_of_each_run() -> None:
    weight = torch.tensor([[[1.0, -1, 1], [-1, 1, -1]], [[0, 0, 0], [0, 0, 3]]])
    assert metrics.weight_magnitude(weight).tolist() == [1, 0.5]


def test_weight_magnitude_of_a_network_is_the_mean_over_all_weights() -> None:
    """Two runs, a layer of 2 x 3 and one of 3 x 1: the mean over 9 weights, not over the layers' means."""
    first = torch.tensor([[[1.0, -1, 1], [-1, 1, -1]], [[0, 0, 0], [0, 0, 3]]])
    second = torch.tensor([[[4.0], [-4], [4]], [[-6], [0], [0]]])
    rows = Measurements().take(0, [], [first, second])
    assert [row["weight_magnitude"] for row in rows] == pytest.approx([(6 + 12) / 9, (3 + 6) / 9], rel=1e-15)


def test_columns_come_in_totals_and_layers_in_percent_of_the_units() -> None:
    """Layers of 4 and 2 units, 1 and 2 of them dead: 3 of 6 in all. Ranks are averaged over the layers."""
    first = torch.eye(4).reshape(1, 4, 4).clone()
    first[0, 3, 3] = 0  # three orthogonal columns of four: effective rank 3
    hidden = [first, torch.zeros(1, 4, 2)]
    weights = [torch.full((1, 5, 4), -1.0), torch.full((1, 4, 2), 2.0), torch.full((1, 2, 3), 3.0)]
    [row] = Measurements(["dead_units", "effective_rank"]).take(0, hidden, weights)
    assert list(row) == [
        *("dead_units", "weight_magnitude", "effective_rank"),
        *("dead_units_1", "dead_units_2", "effective_rank_1", "effective_rank_2"),
        *("weight_magnitude_1", "weight_magnitude_2", "weight_magnitude_3"),
    ]
    assert row == pytest.approx(
        {
            "weight_magnitude": (20 * 1 + 8 * 2 + 6 * 3) / 34,
            "dead_units": 50,
            "effective_rank": (75 + 0) / 2,
            "dead_units_1": 25,
            "dead_units_2": 100,
            "effective_rank_1": 75,
            "effective_rank_2": 0,
            "weight_magnitude_1": 1,
            "weight_magnitude_2": 2,
            "weight_magnitude_3": 3,
        },
        rel=1e-12,
    )


def test_ranks_are_left_out_between_the_tasks_that_take_them() -> None:
    measurements = Measurements(["dead_units", "effective_rank", "approximate_rank"], rank_every=3)
    hidden, weights = [torch.rand(2, 6, 3, generator=torch.Generator().manual_seed(0))], [torch.ones(2, 1, 3)]
    for task in range(7):
        for row in measurements.take(task, hidden, weights):
            for name in ("effective_rank", "effective_rank_1", "approximate_rank", "approximate_rank_1"):
                assert math.isnan(row[name]) == (task not in (0, 3, 6))
            assert row["dead_units"] == 0


def test_a_linear_network_has_weights_only() -> None:
    [row] = Measurements().take(0, [], [torch.full((1, 3, 2), -0.5)])
    assert row.pop("weight_magnitude") == row.pop("weight_magnitude_1") == 0.5
    assert list(row) == ["dead_units", "effective_rank"]
    assert all(math.isnan(value) for value in row.values())


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((value, dtype) for value in (math.nan, math.inf, -math.inf) for dtype in (torch.float32, torch.float64)),
        (1e200, torch.float64),  # its square is infinite
    ],
)
def test_a_run_that_is_not_finite_leaves_the_others_alone(value: float, dtype: torch.dtype) -> None:
    hidden = [torch.rand(3, 6, 4, dtype=dtype, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    weights = [torch.ones(3, 4, 4, dtype=dtype)]
    measurements = Measurements(["dead_units", "dormant_units", *(metric.__name__ for metric in RANKS)])
    expected = measurements.take(0, hidden, weights)
    hidden[1][1, 2, 3] = value
    rows = measurements.take(0, hidden, weights)
    assert rows[0] == expected[0]
    assert rows[2] == expected[2]
    assert math.isnan(rows[1]["effective_rank"])
    assert math.isnan(rows[1]["dead_units_1"])
    assert rows[1]["weight_magnitude"] == 1


def mean_activation(features: Tensor) -> Tensor:
    return features.shape[2] * features.mean(dim=(1, 2))


def test_a_metric_of_ones_own_is_named_by_its_path() -> None:
    name = f"{__name__}.mean_activation"
    [row] = Measurements([name]).take(0, [torch.full((1, 3, 2), 0.25)], [torch.ones(1, 1, 2)])
    assert row[name] == row[f"{name}_1"] == 25


@pytest.mark.parametrize("name", ["dead_unit", "no_such_package.metric", "numpy.no_such_function", ""])
def test_an_unknown_metric_is_a_clear_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.features: no metric "):
        Measurements([name])


def test_rank_every_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="rank_every must be at least 1, got 0"):
        Measurements(rank_every=0)
