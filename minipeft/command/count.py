"""Count what a method trains on a model, from its shape alone: nothing is downloaded or built."""

import argparse
import json

from minipeft.budget.count import count_parameters
from minipeft.command.options import add_config_arguments, config_of, report

add_arguments = add_config_arguments


def main(options: argparse.Namespace) -> int:
    """Print the count; 0, or 2 where something isn't known or doesn't fit."""

    def text() -> str:
        count = count_parameters(options.model, config_of(options))
        return json.dumps(count.to_dict(), indent=2) if options.json else count.table()

    return report(text)
