"""The commit that run.json names."""

import os
import subprocess
from pathlib import Path

import pytest

from cbp_experiments.results import provenance


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(name)
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=first")
    return tmp_path


def git(repository: Path, *arguments: str) -> str:
    return subprocess.check_output(["git", "-C", str(repository), *arguments], text=True).strip()


def test_the_commit_and_whether_tracked_files_differ_from_it(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "untracked.py").write_text("new")
    assert provenance._commit(repository) == commit
    (repository / "one.py").write_text("changed")
    assert provenance._commit(repository) == f"{commit}-dirty"
    git(repository, "add", "one.py")
    assert provenance._commit(repository) == f"{commit}-dirty"


def test_a_git_command_at_the_same_time_finds_the_index_unlocked(repository: Path) -> None:
    index = repository / ".git" / "index"
    for name in ("one.py", "two.py"):
        os.utime(repository / name, (1, 1))  # git would write the new times into the index, under its lock
    before = (index.read_bytes(), index.stat().st_ino)
    commit = provenance._commit(repository)
    assert (index.read_bytes(), index.stat().st_ino) == before
    (repository / ".git" / "index.lock").write_bytes(b"")  # of another command
    assert provenance._commit(repository) == commit == git(repository, "rev-parse", "HEAD")


def test_no_commit(tmp_path: Path) -> None:
    assert provenance._commit(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    assert provenance._commit(tmp_path) is None
