"""What a network predicts in a stream: the class of an example, or its target."""

from dataclasses import dataclass

from cbp_experiments.scores import ACCURACY, SQUARED_ERROR, Score


@dataclass(frozen=True)
class Objective:
    """The loss that is minimized, and the score that is reported. Both engines know it by its name."""

    name: str
    score: Score


CROSS_ENTROPY = Objective("cross_entropy", ACCURACY)
"""Softmax cross-entropy with labels int64 `[N]`. The score is the share of labels that have the largest output."""

SQUARED = Objective("squared_error", SQUARED_ERROR)
"""(output - target)^2, the mean over outputs, for targets float `[N]` or `[N, outputs]`. It is also the score."""
