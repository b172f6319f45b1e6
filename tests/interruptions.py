"""What interrupts a run in the tests."""

import time
from pathlib import Path


class PowerCut(BaseException):
    """Ends everything at once, like a kill."""


def wait_for_checkpoints(results_dir: Path, rounds: int) -> None:
    """Until some checkpoint was written `rounds` times, not counting what is there."""
    before = {(path, path.stat().st_mtime_ns) for path in results_dir.glob("**/checkpoint.npz")}
    seen: set[tuple[Path, int]] = set()
    deadline = time.monotonic() + 60
    while len(seen) < rounds and time.monotonic() < deadline:
        for path in results_dir.glob("**/checkpoint.npz"):
            try:
                seen |= {(path, path.stat().st_mtime_ns)} - before
            except FileNotFoundError:
                continue
        time.sleep(0.002)
    assert len(seen) >= rounds
