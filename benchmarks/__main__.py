"""``python -m benchmarks``: the list of benchmarks, and one of them by name."""

from __future__ import annotations

import argparse
import sys

from benchmarks import compilation, recurrence, step_time

BENCHMARKS = {"step-time": step_time, "recurrence": recurrence, "compile": compilation}


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark; bad input is one sentence on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="name", metavar="NAME")
    for name, module in BENCHMARKS.items():
        summary = (module.__doc__ or "").split(": ", 1)[1].strip()
        module.add_arguments(commands.add_parser(name, help=summary, description=module.__doc__))
    options = parser.parse_args(arguments)
    if options.name is None:
        parser.print_help()
        return 0
    try:
        BENCHMARKS[options.name].run(options)
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
