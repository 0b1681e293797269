"""The command `fastseq`: `fastseq info`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import fastseq
from fastseq import _core

__all__ = ["main"]


def _info(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("version", fastseq.__version__)
    table.add_row("instruction set", _core.isa())
    table.add_row("available", ", ".join(_core.available_isas()))
    table.add_row("threads", str(fastseq.get_num_threads()))
    table.add_row("OpenMP", "yes" if _core.has_openmp() else "no")
    table.add_row("CUDA", "yes" if _core.has_cuda() else "no")
    Console().print(table)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastseq", description=fastseq.__doc__)
    parser.add_argument("--version", action="version", version=f"fastseq {fastseq.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    info = commands.add_parser("info", help="print version, instruction set, threads, OpenMP, CUDA")
    info.set_defaults(run=_info)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
