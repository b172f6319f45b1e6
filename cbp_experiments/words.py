"""Numbers and names as words, for the terminal, figures and the report."""

from collections.abc import Sequence


def count(number: int, noun: str) -> str:
    """Format as "1 run" or "3 runs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some(names: Sequence[str], most: int = 6) -> str:
    """Format as "a, b, c"; if there are more names than `most`, the first ones and how many more there are."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def duration(seconds: float) -> str:
    """Format as "45 s", "12 min" or "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
