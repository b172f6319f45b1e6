"""The command line: cbp-prepare-imagenet SOURCE"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cbp_experiments.errors import ConfigError
from cbp_experiments.output import guarded
from cbp_experiments.preparing.prepare import IMAGES, Options, prepare
from cbp_experiments.preparing.recognition import FORMS
from cbp_experiments.streams.image_cache import COMMAND
from cbp_experiments.streams.image_sources import CACHE_FOLDER


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} ({self.prog} --help lists the options)\n")


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0; 2 after a one-line error; 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    wanted = Options(
        options.name, options.images, options.skip_small, options.skip_broken, options.workers, options.force
    )
    try:
        cache = prepare(options.source.expanduser(), options.output.expanduser(), wanted)
    except ConfigError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or options.output}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{options.output}: {cache.description}, {cache.images.shape[1]} each, {cache.checksum}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=COMMAND,
        description="Scale ImageNet to 32x32 and keep it as one array, for data.source=imagenet (docs/data.md).",
    )
    parser.add_argument("source", type=Path, help=f"what you have: {FORMS}")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(os.environ.get("CBP_DATA", "data"), CACHE_FOLDER),
        help="the folder of the cache (%(default)s: below the default of data.root)",
    )
    parser.add_argument(
        "--name",
        default=Options.name,
        help="what results and figures call the images (%(default)s), such as a part of it",
    )
    parser.add_argument(
        "--images",
        type=_positive,
        metavar="N",
        help=f"images of a class ({IMAGES}, or as many as the smallest class has if that is fewer)",
    )
    parser.add_argument("--skip-small", action="store_true", help="leave classes with fewer images out")
    parser.add_argument("--skip-broken", action="store_true", help="leave broken images out; the next one is taken")
    parser.add_argument(
        "--workers", type=_positive, metavar="N", default=os.cpu_count() or 1, help="processes (%(default)s: the cores)"
    )
    parser.add_argument("--force", action="store_true", help="replace a cache, or half of one, of other settings")
    return parser


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
