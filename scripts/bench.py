"""Time for one update of one run, every learner on both networks, against a plain PyTorch loop: make bench

The contestants take turns within one process; every figure is the median of some rounds, so that a machine whose speed
drifts does so for all of them. The learners are those of conf/learner at laptop scale. On a CPU, ours are as many runs
as cores, one thread each, and the plain loop is one run with all threads or one, whichever is faster.

    make bench                       the whole table
    make bench BASELINE=before.txt   and how each row compares with a table that was printed before: each by its ratio
                                     to the plain loop of its own call, so that another machine's speed cancels out
    make bench DEVICE=cuda           on a GPU: 1, 8 and 30 runs at once (scripts/bench_cuda.py)
"""

import argparse
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import bench_conv
import bench_online
import torch
from timing import HEADS, Timing, read_table

from cbp_experiments.cli.compose import CONF
from cbp_experiments.engines import cores
from cbp_experiments.engines.ensemble import choose_device
from cbp_experiments.errors import ConfigError

LEARNERS = sorted((path.stem for path in (CONF / "learner").glob("*.yaml")), key=lambda name: (name != "bp", name))
NETWORKS = {"mlp": bench_online, "conv": bench_conv}


def rows(arguments: argparse.Namespace) -> Iterator[Timing]:
    for name, network in NETWORKS.items():
        if name in arguments.network:
            for width in network.WIDTHS:
                if width in (arguments.widths or network.WIDTHS):
                    for learner in arguments.learners:
                        yield from network.contest(learner, width, arguments.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--learners", nargs="+", default=LEARNERS, choices=LEARNERS)
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--widths", nargs="+", type=int, help="of " + ", ".join(
        f"{name}: {', '.join(map(str, network.WIDTHS))}" for name, network in NETWORKS.items()
    ))  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="what make bench printed before")
    arguments = parser.parse_args()
    if not re.fullmatch(r"cpu|cuda(:\d+)?", arguments.device):
        sys.exit(f"--device is cpu, cuda or cuda:1, not {arguments.device}")
    if arguments.device != "cpu":
        try:
            choose_device(arguments.device)
        except ConfigError as error:
            sys.exit(f"--device {arguments.device}: {error}")
        import bench_cuda

        bench_cuda.main(arguments.rounds, arguments.device)
        return
    before = read_table(arguments.baseline) if arguments.baseline else {}
    print(f"{platform.machine()}, {cores()} cores, torch {torch.__version__}; medians of {arguments.rounds} rounds")
    print("microseconds for one update of one run; x bp: ours, by ours of bp\n")
    print(HEADS + ("   against before" if before else ""))
    measured: list[Timing] = []
    for row in rows(arguments):
        measured.append(row)
        bp = {each.learner: each.ours for each in measured if (each.network, each.width) == (row.network, row.width)}
        print(row.line(bp.get("bp")) + row.against(before), flush=True)
    for name, network in NETWORKS.items():
        if name in arguments.network:
            network.further(arguments.rounds, measured)


if __name__ == "__main__":
    main()
