"""An update of the ensemble engine on a GPU as a CUDA graph: one launch instead of some hundred."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cbp_experiments.engines.base import EngineOptions
from cbp_experiments.learners import Mechanism
from cbp_experiments.progress import say

WARM_UP = 3  # updates before the capture: libraries choose their algorithms and allocate what they keep

Learn = Callable[[Tensor], tuple[Tensor, Tensor]]


def takes_graphs(device: torch.device, options: EngineOptions, mechanisms: Sequence[Mechanism]) -> bool:
    """Whether the updates of a learner with these mechanisms are made as CUDA graphs."""
    return device.type == "cuda" and options.graph == "auto" and all(m.capturable for m in mechanisms)


class Graphed:
    """`learn`, from rows `[R, B]` to losses `[R]` and right predictions `[R]`, repeated by a CUDA graph.

    What `learn` reads and writes besides must stay where it is in memory; `forget` it when that moves. Nothing may ask
    the device for a value. Where the capture fails, for such a reason or another, that is said and `learn` is called.
    """

    def __init__(self, learn: Learn):
        self.learn = learn
        self.forget()
        self.failed = False

    def forget(self) -> None:
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """An update. The results are overwritten by the next one."""
        if self.graph is not None and rows.shape == self.rows.shape:
            self.rows.copy_(rows)
            self.graph.replay()
            return self.outcome
        self.calls += 1
        if self.calls <= WARM_UP or self.graph is not None or self.failed:
            return self.learn(rows)
        return self._capture(rows)

    def _capture(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Record an update and make it: recording alone changes nothing."""
        self.rows, graph = rows.clone(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.outcome = self.learn(self.rows)
        except RuntimeError as error:
            self.failed = True
            say(f"no CUDA graph ({str(error).splitlines()[0]}): every update is launched kernel by kernel")
            return self.learn(rows)
        self.graph = graph
        return self(rows)
