"""What a learner sees: one file per stream."""

from cbp_experiments.streams.base import Examples, Stream, Task

__all__ = ["Examples", "Stream", "Task"]
