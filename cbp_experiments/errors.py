"""Errors that the user can fix."""

import difflib
from collections.abc import Sequence


class ConfigError(ValueError):
    """Bad input. The message is one line: what is wrong, and how to fix it.

    The command line prints it after "error:" and exits with 2, without a traceback.
    """


def unknown_key(key: str, names: Sequence[str], prefix: str = "") -> ConfigError:
    """Make the error for `prefix + key`, if only `names` are known after `prefix`."""
    close = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {prefix}{close[0]}?" if close else f"there are: {', '.join(names)}"
    return ConfigError(f"unknown key {prefix}{key}; {hint}")
