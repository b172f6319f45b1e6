"""Check whether the environment that runs this is complete. Part of setup_environment.sh; standard library only.

`check_environment.py stamp` records in .venv/stamp.json what is installed; `check_environment.py check [3.x]` compares.
Exit code 0: complete; 3: complete, but made for another pyproject.toml or constraints.txt; 1: broken. Unless it is 0,
one line says what was found.
"""

import csv
import hashlib
import json
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAMP = ROOT / ".venv" / "stamp.json"
SITE = Path(sysconfig.get_paths()["purelib"])
BROKEN, OUTDATED = 1, 3


def state() -> dict[str, str | list[str]]:
    """What an environment is made of: folder, Python version, inputs, every package as `name-version.dist-info`."""
    inputs = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    return {
        "folder": str(ROOT),  # it is built into the scripts and the editable install
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "inputs": hashlib.sha256(inputs).hexdigest(),
        "packages": sorted(folder.name for folder in SITE.glob("*.dist-info")),
    }


def damage(package: str) -> str | None:
    """Describe the first file of an installed package that is missing or not of the size that pip recorded."""
    with (SITE / package / "RECORD").open(newline="", encoding="utf-8") as record:
        for name, _, size in csv.reader(record):
            if not size:  # compiled files and RECORD itself
                continue
            path = SITE / name
            if not path.exists():
                return f"{name} is missing"
            if path.stat().st_size != int(size):
                return f"{name} is not as it was installed"
    return None


def check(python: str | None = None) -> tuple[int, str]:
    """Return exit code and finding; `python` is the requested version, such as 3.12, if any."""
    if not STAMP.exists():
        return BROKEN, "it was never finished"
    made, now = json.loads(STAMP.read_text(encoding="utf-8")), state()
    if made["folder"] != now["folder"]:
        return BROKEN, f"it was made for {made['folder']}"
    if made["python"] != now["python"]:
        return BROKEN, f"it was made for Python {made['python']} and now runs {now['python']}"
    if python not in (None, made["python"]):
        return BROKEN, f"it has Python {made['python']}, asked for is {python}"
    gone = sorted(set(made["packages"]) - set(now["packages"]))
    finding = f"{gone[0].removesuffix('.dist-info')} is missing" if gone else None
    finding = finding or next(filter(None, map(damage, made["packages"])), None)
    if finding:
        return BROKEN, finding
    if made["inputs"] != now["inputs"]:
        return OUTDATED, "pyproject.toml or constraints.txt has changed"
    return 0, ""


def main() -> int:
    """Do what the command line asks for."""
    if sys.argv[1] == "stamp":
        STAMP.write_text(json.dumps(state(), indent=1) + "\n", encoding="utf-8")
        return 0
    try:
        code, finding = check(*sys.argv[2:3])
    except (OSError, ValueError, KeyError, TypeError) as error:
        code, finding = BROKEN, f"its records cannot be read ({error})"
    if code:
        print(finding)
    return code


if __name__ == "__main__":
    sys.exit(main())
