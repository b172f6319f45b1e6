"""The losses of streams.objectives in PyTorch."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def cross_entropy(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Losses `[R, B]` of `outputs [R, B, classes]` for labels `y [R, B]`, and whether each prediction is right."""
    losses = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
    return losses, outputs.detach().argmax(dim=2) == y


def squared_error(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Losses `[R, B]` of `outputs [R, B, n]` for targets `y [R, B, n]` (one output: `[R, B]`), and again as scores."""
    losses = (outputs - y.view(outputs.shape)).square().mean(dim=2)
    return losses, losses.detach()


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "squared_error": squared_error}
