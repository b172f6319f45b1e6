"""What a stream asks of a network: to name the class of an example, or to give its target."""

from dataclasses import dataclass

from cbp_experiments.scores import ACCURACY, SQUARED_ERROR, Score


@dataclass(frozen=True)
class Objective:
    """The loss that is minimized, and the score that is reported. Both engines know it by its name."""

    name: str
    score: Score


CROSS_ENTROPY = Objective("cross_entropy", ACCURACY)
"""Of softmax, for labels int64 `[N]`; the score is the share of examples whose label has the largest output."""

SQUARED = Objective("squared_error", SQUARED_ERROR)
"""(output - target)^2, the mean over outputs, for targets float `[N]` or `[N, outputs]`; it is the score, too."""
