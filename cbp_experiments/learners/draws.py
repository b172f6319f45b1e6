"""Counter-based random numbers of a learner, made on the networks' device without reading anything back from it."""

from collections.abc import Callable, Sequence
from functools import cache
from math import ceil, prod

import numpy as np
import torch
from torch import Tensor

from cbp_experiments.progress import say
from cbp_experiments.seeding import FACTORS, GOLDEN, SHIFTS, purpose_key

Normals = Callable[[Tensor, Tensor, int, torch.dtype], tuple[Tensor, Tensor]]


class Draws:
    """Random numbers of R runs. Number i for a purpose at an update depends only on (seed, task, update, purpose, i).

    A CPU and a GPU draw the same numbers: words and uniform numbers to the last bit, normal numbers up to rounding.
    State is changed in place, so that a CUDA graph can capture it.
    """

    def __init__(self, runs: int, device: torch.device):
        self.runs = runs
        self._task = torch.zeros(runs, dtype=torch.int64, device=device)
        self._updates = torch.zeros((), dtype=torch.int64, device=device)
        self._now = torch.zeros(runs, dtype=torch.int64, device=device)
        self._golden = torch.tensor(_signed(GOLDEN), device=device)

    def begin_task(self, keys: Sequence[int], updates: int = 0) -> None:
        """Start a task: `keys[r]` is run r's `seeding.task_key`; `updates` updates of the task are already made."""
        self._task.copy_(torch.tensor([_signed(key) for key in keys]))
        self._updates.fill_(updates)

    def next_update(self) -> None:
        """Advance to the next update; call it before drawing anything."""
        self._updates += 1
        self._now.copy_(_mixed(self._task + self._updates * self._golden))

    def words(self, purpose: str, index: int, count: int) -> Tensor:
        """Draw words of 64 random bits: int64 `[R, count]`.

        Within an update, calls with the same purpose and index (a layer's, for example) return the same words.
        """
        return _words(self._begin(purpose, index), self._golden, count)

    def _begin(self, purpose: str, index: int) -> Tensor:
        return self._now + _signed(purpose_key(purpose, index))

    def uniform(self, purpose: str, index: int, shape: Sequence[int]) -> Tensor:
        """Uniform in [0, 1), multiples of 2^-53: float64 `[R, *shape]`."""
        words = _shifted(self.words(purpose, index, prod(shape)), 11)
        return (words.double() * 2.0**-53).unflatten(1, tuple(shape))

    def bernoulli(self, purpose: str, index: int, shape: Sequence[int], probability: float) -> Tensor:
        """Whether `uniform` is below `probability`: bool `[R, *shape]`."""
        words = _shifted(self.words(purpose, index, prod(shape)), 11)
        return (words < ceil(probability * 2.0**53)).unflatten(1, tuple(shape))

    def normal(self, purpose: str, index: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """N(0, 1) by Box and Muller (1958), two numbers per 64-bit word: `[R, *shape]`. None is beyond 6.7."""
        normals = _fused_normals(self._now.device) if self._now.is_cuda else _normals
        pairs = normals(self._begin(purpose, index), self._golden, -(-prod(shape) // 2), dtype)
        return torch.cat(pairs, dim=1)[:, : prod(shape)].unflatten(1, tuple(shape))


def _words(begin: Tensor, golden: Tensor, count: int) -> Tensor:
    return _mixed(torch.arange(count, device=begin.device) * golden + begin.unsqueeze(1))


def _normals(begin: Tensor, golden: Tensor, pairs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    words = _words(begin, golden, pairs)
    radius = ((_shifted(words, 32).to(dtype) + 1) * 2.0**-32).log_().mul_(-2).sqrt_()
    angle = (words & 0xFFFFFFFF).to(dtype).mul_(2 * np.pi * 2.0**-32)
    return radius * angle.cos(), radius * angle.sin()


@cache
def _fused_normals(device: torch.device) -> Normals:
    """Compile `_normals` into one kernel instead of thirty, each of which would read and write the GPU's memory."""
    fused = torch.compile(_normals, dynamic=False)
    try:
        fused(torch.zeros(2, dtype=torch.int64, device=device), torch.tensor(1, device=device), 3, torch.float32)
    except Exception as error:  # for example, because PyTorch's compiler finds no C compiler
        say(f"noise is drawn slowly, because PyTorch cannot compile here ({str(error).splitlines()[0]})")
        return _normals
    return fused


def _mixed(words: Tensor) -> Tensor:
    """seeding.mixed, in place: products of int64 wrap like those of uint64."""
    for shift, factor in zip(SHIFTS, (*FACTORS, 1), strict=True):
        words ^= _shifted(words, shift)
        if factor != 1:
            words *= _signed(factor)
    return words


def _shifted(words: Tensor, shift: int) -> Tensor:
    """Shift right, filling with zeros."""
    return (words >> shift).bitwise_and_((1 << (64 - shift)) - 1)


def _signed(word: int) -> int:
    """Return the int64 with the bits of a uint64."""
    return word - (word >> 63 << 64)
