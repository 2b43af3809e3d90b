"""The former names of `sandboxed/` and its protocol, for scripts that import them."""

import sys

from .sandboxed import call, protocol
from .sandboxed import protocol as wire

sys.modules |= {f"{__name__}.call": call, f"{__name__}.wire": protocol}

__all__ = ["call", "wire"]
