"""What holds for all tests."""

from collections.abc import Iterator

import pytest

from cbp_experiments.engines import limited_threads


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """The tests' networks are so small that threads only wait for each other."""
    with limited_threads(1):
        yield
