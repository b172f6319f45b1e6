"""docs/your-own-network.md: its code runs as printed, and prints what the page says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_recipes import blocks

PAGE = "docs/your-own-network.md"


@pytest.fixture(autouse=True)
def _global_generator_as_before() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def test_the_page_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    shown = ""
    for language, text in blocks(PAGE):
        if language == "python":
            exec(text, namespace)
        else:
            shown += text
    assert capsys.readouterr().out == shown
    assert len(shown.splitlines()) == 4
