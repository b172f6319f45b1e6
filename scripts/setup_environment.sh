#!/bin/sh
# Set up .venv with the versions of constraints.txt (make install). A complete .venv is left unchanged, after a check of
# a fraction of a second; a complete one made for other versions is updated; anything else is created again.
set -eu
cd "$(dirname "$0")/.."
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME

say() { echo "setup: $*" >&2; }
fail() { say "$@"; exit 2; }

# Whether the command $1 is a Python to build on; if not, $why says why. $base is the interpreter itself, $version its
# 3.x. A command of a virtual environment stands for the interpreter that the environment was made with.
usable() {
    command -v "$1" >/dev/null 2>&1 || { why="there is no $1"; return 1; }
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
        { why="$1 does not run"; return 1; }
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { why="$1 is Python $version"; return 1; }
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        { why="$1 lacks the venv module (Debian, Ubuntu: apt install python$version-venv)"; return 1; }
    base=$("$1" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.14 python3.13 python3.12 python3.11; fi
    first_why=
    for candidate; do
        if usable "$candidate"; then return; fi
        first_why=${first_why:-$why}
    done
    fail "Python 3.11 or newer is needed, but $first_why; name another one: make install PYTHON=python3.12"
}

# Of two set-ups at once, the second waits. The lock ends with the last process that holds descriptor 9, pip included.
exec 9<constraints.txt
if command -v flock >/dev/null 2>&1 && ! flock -n 9; then
    say "waiting for another set-up of this folder"
    flock 9 || true
fi

version=
if [ -n "${PYTHON:-}" ]; then find_python; fi
state=0
finding=$(.venv/bin/python -I scripts/check_environment.py check $version 2>/dev/null) || state=$?
case $state in
    0) exit 0 ;;
    3) say "updating .venv: $finding" ;;
    *)
        find_python
        if [ -e .venv ] || [ -L .venv ]; then say "making .venv anew: ${finding:-it has no Python that runs}"; fi
        say "Python $version at $base; this takes a minute or two, most of it for PyTorch"
        rm -rf .venv
        "$base" -m venv .venv
        ;;
esac
rm -f .venv/stamp.json
quiet=--quiet
if [ -t 1 ]; then quiet=; fi
.venv/bin/python -m pip install $quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' ||
    fail "pip did not get through (above is why); the next make install starts again"
.venv/bin/python -I scripts/check_environment.py stamp
say ".venv is ready"
