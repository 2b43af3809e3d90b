"""The command line: `python -m minipeft count`, `memory` and `inspect`, with their options."""
