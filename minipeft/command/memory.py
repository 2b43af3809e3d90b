"""Say what training a model takes, row by row, from its shape alone: nothing is built."""

import argparse
import dataclasses
import json

from minipeft.budget.memory import memory_budget
from minipeft.budget.training_setup import TrainingSetup
from minipeft.command.options import add_config_arguments, config_of, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `count`, every option of a TrainingSetup, and --fits."""
    add_config_arguments(parser)
    for field in dataclasses.fields(TrainingSetup):
        flag = f"--{field.name.replace('_', '-')}"
        if field.default is False:
            parser.add_argument(flag, action="store_true")
        elif field.name == "training":
            parser.add_argument("--generation", dest="training", action="store_false")
        elif field.name == "skip":
            parser.add_argument(flag, nargs="*", default=field.default, metavar="NAME")
        else:
            number = int if "int" in str(field.type) else str
            parser.add_argument(flag, type=number, default=field.default)
    parser.add_argument("--fits", metavar="SIZE", help="whether it fits into this, such as '24 GB'")


def main(options: argparse.Namespace) -> int:
    """Print the ledger; 0, 1 where it doesn't fit, 2 where something isn't known."""
    setup = {
        field.name: getattr(options, field.name) for field in dataclasses.fields(TrainingSetup)
    }
    fit = None

    def text() -> str:
        nonlocal fit
        budget = memory_budget(options.model, config_of(options), **setup)
        fit = budget.fits(options.fits) if options.fits else None
        if options.json:
            found = budget.to_dict() | ({} if fit is None else {"fit": fit.to_dict()})
            return json.dumps(found, indent=2)
        return budget.table() + ("" if fit is None else f"\n\n{fit}")

    status = report(text)
    return status or (fit is not None and not fit)
