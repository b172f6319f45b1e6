"""What a learner sees: one file per stream."""

from cbp_experiments.streams.base import Stream, Task

__all__ = ["Stream", "Task"]
