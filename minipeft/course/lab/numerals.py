"""How numbers are written wherever the course prints one."""

import math
from numbers import Integral


def rounded(value: float) -> str:
    """A count as it is; a measurement with three significant digits and a decimal point.

    The type decides (an int is a count), and not the value: a measured 99.97 on one processor and
    100.0 on another are both written with a decimal point. An exact zero is "0".
    """
    if isinstance(value, Integral):
        return f"{int(value):,}"
    value = float(f"{float(value):.2e}")  # first to three digits: 0.99999 is 1.00, not 1.000
    if value == 0:
        return "0"
    digits = max(1, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if digits <= 5 and abs(value) < 1e6 else f"{value:.2e}"
