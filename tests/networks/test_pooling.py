"""Pooling and ReLU in one pass are PyTorch's two, bit by bit: values, gradients, ties and not-a-numbers."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cbp_experiments.networks.pooling import FEW, pooled_relu

LAYOUTS = {"channels last": torch.channels_last, "channel by channel": torch.contiguous_format}


def reference(z: Tensor) -> Tensor:
    return torch.relu(F.max_pool2d(z, 2))


def values_and_gradient(h: Tensor, z: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return h.detach(), torch.autograd.grad(h, z, gradient)[0].clone()


def check(z: Tensor, layout: torch.memory_format = torch.channels_last) -> None:
    z = z.contiguous(memory_format=layout).requires_grad_()
    gradient = torch.randn(reference(z).shape, dtype=z.dtype, generator=torch.Generator().manual_seed(1))
    ours = values_and_gradient(pooled_relu(z, {}), z, gradient)
    theirs = values_and_gradient(reference(z), z, gradient)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=0, equal_nan=True)


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, FEW - 1, FEW, 20, 64])
@pytest.mark.parametrize(("height", "width"), [(6, 6), (7, 6), (6, 7), (2, 3), (21, 21)])
def test_any_shape(dtype: torch.dtype, channels: int, height: int, width: int) -> None:
    """Of an odd side, the last row or column is in no window, and its gradient is 0."""
    check(draw(3, channels, height, width, dtype=dtype))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_layout(layout: torch.memory_format) -> None:
    check(draw(3, 16, 8, 8), layout)


def test_the_first_of_equal_values_wins() -> None:
    few_values = draw(20, 16, 8, 8).sign() + draw(20, 16, 8, 8).round()
    check(few_values)
    check(torch.ones(1, 16, 4, 4))
    check(torch.zeros(1, 16, 4, 4))
    check(-torch.zeros(1, 16, 4, 4))


def test_not_a_number_and_infinity_are_seen() -> None:
    """A run diverges by them."""
    z = draw(20, 16, 8, 8)
    where = torch.rand(z.shape, generator=torch.Generator().manual_seed(2))
    check(z.masked_fill(where < 0.3, torch.nan))
    check(
        z.masked_fill(where < 0.3, torch.inf).masked_fill(where > 0.7, -torch.inf).masked_fill(where > 0.9, torch.nan)
    )


def test_memory_is_kept_for_each_shape() -> None:
    """Backward passes of several layers, one after the other, in the memory of the passes before."""
    space: dict[object, Tensor] = {}
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        for shape in ((4, 16, 8, 8), (4, 32, 4, 4)):
            z = torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last).requires_grad_()
            gradient = torch.randn(reference(z).shape, generator=generator)
            _, ours = values_and_gradient(pooled_relu(z, space), z, gradient)
            _, theirs = values_and_gradient(reference(z), z, gradient)
            assert torch.equal(ours, theirs)
    assert len(space) == 2


def test_without_gradients() -> None:
    z = draw(3, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(pooled_relu(z, {}), reference(z))
