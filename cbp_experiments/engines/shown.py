"""What the runs of a group see in a task: mini-batches of their images, each run in its own order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
import torch
from torch import Tensor

from cbp_experiments.streams import Examples


@dataclass(frozen=True)
class Shown:
    """One task of R runs, on their device. Images keep their stored dtype until `inputs` reads them.

    `images [N, features]` and `labels [N]` hold the examples of all runs; run r's start at `begins[r]`, shape `[R, 1]`.
    With `channels`, the features are square images with the channels of a pixel together, `[side, side, channels]`.
    """

    images: Tensor
    labels: Tensor
    begins: Tensor
    permutation: Tensor | None
    scale: float
    dtype: torch.dtype
    channels: int = 0

    def in_place_of(self, held: "Shown") -> "Shown":
        """Copy this into the memory of `held` and return `held`, if shapes and types are equal; else return this."""
        ours, theirs = ((s.images, s.labels, s.begins, s.permutation) for s in (self, held))
        if [_kind(tensor) for tensor in ours] != [_kind(tensor) for tensor in theirs]:
            return self
        for tensor, memory in zip(ours, theirs, strict=True):
            if tensor is not None and memory is not None and memory is not tensor:
                memory.copy_(tensor)
        return held

    def rows(self, rows: Iterable[np.ndarray]) -> Tensor:
        """Turn each run's rows of its own images into rows of all images: `[R, B]`."""
        return stacked(rows, self.images.device) + self.begins

    def inputs(self, rows: Tensor) -> Tensor:
        """The networks' inputs for `rows [R, B]`: `[R, B, features]`, or `[R, B, channels, side, side]`."""
        images = self.images.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        if self.permutation is not None:
            images = images.gather(2, self.permutation.unsqueeze(1).expand_as(images))
        x = images.to(self.dtype).mul_(self.scale)
        if not self.channels:
            return x
        side = isqrt(x.shape[2] // self.channels)
        return x.unflatten(2, (side, side, self.channels)).permute(0, 1, 4, 2, 3)


def channels_last(images: Tensor, channels: int) -> Tensor:
    """Reorder images `[N, features]` from channel by channel to pixel by pixel."""
    return images.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1)


def side_by_side(examples: Sequence[Examples], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Concatenate the runs' examples, equally many each: images, labels, and where each run's begin."""
    images = torch.from_numpy(np.concatenate([own.images for own in examples])).to(device)
    labels = torch.from_numpy(np.concatenate([own.labels for own in examples])).to(device)
    begins = torch.arange(len(examples), device=device).unsqueeze(1) * len(examples[0].labels)
    return images, labels, begins


def stacked(arrays: Iterable[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(list(arrays))).to(device)


def _kind(tensor: Tensor | None) -> tuple[torch.Size, torch.dtype] | None:
    return None if tensor is None else (tensor.shape, tensor.dtype)
