"""CUDA graphs: an update of the ensemble engine on a GPU in one launch instead of about a hundred."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from cbp_experiments.engines.base import EngineOptions
from cbp_experiments.errors import ConfigError
from cbp_experiments.learners import Learner

WARM_UP = 3  # updates before the capture, in which libraries choose algorithms and allocate the memory they keep

Learn = Callable[[Tensor], tuple[Tensor, Tensor]]


def takes_graphs(device: torch.device, options: EngineOptions, learner: Learner) -> bool:
    """Whether this learner's updates run as CUDA graphs."""
    return device.type == "cuda" and options.graph == "auto" and all(m.capturable for m in learner.mechanisms)


class Graph:
    """Repeats an update, from rows `[R, B]` to losses `[R]` and sums of scores `[R]`, after its first few calls.

    Everything else that the update reads and writes must stay where it is in memory; call `forget` when it moves.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, learn: Learn, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Do what `learn(rows)` does and return its result, which the next call overwrites. `learn` is always the same.

        Raises ConfigError if it cannot be captured, for example because it asks the device for a value.
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
        """Record an update without executing it."""
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
    """Disable garbage collection: freeing a graph or a tensor during a capture ends the capture."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
