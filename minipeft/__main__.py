"""The command line: `python -m minipeft COMMAND`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

# name: (what it does, the module with its add_arguments and main)
COMMANDS = {
    "count": ("count what a method trains on a model", "minipeft.command.count"),
    "memory": ("say what training takes, and whether it fits", "minipeft.command.memory"),
    "inspect": ("say whether an adapter fits a base", "minipeft.command.inspect"),
    "grade": ("grade handed-in exercises in a sandbox", "minipeft.grading.grade"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m minipeft", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments = sys.argv[1:] if arguments is None else arguments
    for name, (purpose, module) in COMMANDS.items():
        subparser = commands.add_parser(name, help=purpose)
        if name in arguments[:1]:  # the other commands' modules are not imported
            command = importlib.import_module(module)
            subparser.description = command.__doc__
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.main)
    parsed = parser.parse_args(arguments)
    return parsed.run(parsed)


if __name__ == "__main__":
    sys.exit(main())
