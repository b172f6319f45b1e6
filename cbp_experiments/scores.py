"""The scores of learners: the column of metrics.csv, how a score is written, and which of two values is better."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A score of learners. column: of metrics.csv; words, plural: its name in texts. unit: of its values ("%" or "");
    difference_unit: of a difference. factor: from a mean over examples to the value that is written."""

    column: str
    words: str
    plural: str
    unit: str
    difference_unit: str
    factor: float
    decimals: int
    higher_is_better: bool

    @property
    def label(self) -> str:
        """The label of an axis or a column: "accuracy %"."""
        return f"{self.words} {self.unit}".strip()

    @property
    def title(self) -> str:
        """The beginning of the title of an axis or a column: "Accuracy"."""
        return self.words.capitalize()

    @property
    def in_brackets(self) -> str:
        """The unit in such a title: " (%)"."""
        return f" ({self.unit})" if self.unit else ""

    def better_first(self, value: float) -> float:
        """Return a key that sorts the better value first."""
        return -value if self.higher_is_better else value


ACCURACY = Score("accuracy", "accuracy", "accuracies", "%", "percentage points", 100.0, 2, higher_is_better=True)
SQUARED_ERROR = Score("squared_error", "squared error", "squared_errors", "", "", 1.0, 4, higher_is_better=False)
SCORES = {score.column: score for score in (ACCURACY, SQUARED_ERROR)}


def score_of(columns: Iterable[str]) -> Score:
    """Return the score that these columns have; accuracy if they have none."""
    there = set(columns)
    return next((score for column, score in SCORES.items() if column in there), ACCURACY)
