"""An update of the ensemble engine on a GPU as a CUDA graph: one launch instead of some hundred."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from cbp_experiments.engines.base import EngineOptions
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Learner

WARM_UP = 3  # updates before the capture: libraries choose their algorithms and allocate what they keep

Learn = Callable[[Tensor], tuple[Tensor, Tensor]]


def takes_graphs(device: torch.device, options: EngineOptions, learner: Learner) -> bool:
    """Whether the updates of this learner are made as CUDA graphs."""
    return device.type == "cuda" and options.graph == "auto" and all(m.capturable for m in learner.mechanisms)


class Graph:
    """Repeats an update, from rows `[R, B]` to losses `[R]` and right predictions `[R]`, once it has seen a few.

    What the update reads and writes besides must stay where it is in memory; `forget` it when that moves.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, learn: Learn, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What `learn(rows)` does and gives; the next call overwrites it. `learn` is the same at every call.

        Raises ConfigError if it cannot be captured because it asks the device for a value, or else.
        """
        self.calls += 1
        if self.graph is None and self.calls > WARM_UP:
            self._capture(learn, rows)
        if self.graph is None or rows.shape != self.rows.shape:
            return learn(rows)
        self.rows.copy_(rows)
        self.graph.replay()
        return self.outcome

    def _capture(self, learn: Learn, rows: Tensor) -> None:
        """Record an update, without making it."""
        self.rows, graph = torch.empty_like(rows), torch.cuda.CUDAGraph()
        try:
            with _no_garbage_collection(), torch.cuda.graph(graph):
                self.outcome = learn(self.rows)
        except RuntimeError as error:
            why = str(error).splitlines()[0]
            raise ConfigError(f"the update cannot be captured as a CUDA graph ({why}); set engine.graph=off") from error
        self.graph = graph


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A graph or a tensor that is freed during a capture ends it."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
