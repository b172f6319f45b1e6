"""2x2 max-pooling (stride 2) and ReLU in one."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEW = 8  # channels: with fewer, PyTorch is as fast


def pooled_relu(z: Tensor, space: dict[Any, Tensor]) -> Tensor:
    """Pool `[B, n, height, width]` to `[B, n, height // 2, width // 2]`, then apply ReLU to the quarter that is left.

    `space` keeps the memory for the gradient of `z` from one backward pass to the next, because asking the system for
    it again takes longer than filling it.
    """
    if z.device.type != "cpu" or z.shape[1] < FEW or not z.is_contiguous(memory_format=torch.channels_last):
        return torch.relu(F.max_pool2d(z, 2))
    return _PooledReLU.apply(z, space)


class _PooledReLU(torch.autograd.Function):
    """Pools on a CPU, channels last, with PyTorch's values and gradients. It keeps the winners' positions, not z."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, space: dict[Any, Tensor]) -> Tensor:
        from cbp_experiments.networks.compiled.pooling import pool  # numba takes half a second to import

        z = z.detach().permute(0, 2, 3, 1)
        batch, height, width, channels = ctx.shape = z.shape
        h = z.new_empty(batch, height // 2, width // 2, channels)
        ctx.space = space
        ctx.winners = np.empty(h.shape, np.int8)
        most, winner = z.new_empty(width * channels).numpy(), np.empty(width * channels, np.int8)
        pool(z.flatten(2).numpy(), h.numpy(), ctx.winners, most, winner)
        return h.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        from cbp_experiments.networks.compiled.pooling import pool_backward

        gradient = gradient.permute(0, 2, 3, 1).contiguous()
        kind = ctx.shape, gradient.dtype
        if kind not in ctx.space:
            ctx.space[kind] = gradient.new_empty(ctx.shape)
        into = ctx.space[kind]
        pool_backward(gradient.numpy(), ctx.winners, into.numpy())
        return into.permute(0, 3, 1, 2), None
