"""The one exception that is shown to the user without a traceback."""


class ConfigError(ValueError):
    """A mistake the user can mend: its message is one line that says what is wrong and how to mend it.

    The command line prints the message and exits with code 2.
    """
