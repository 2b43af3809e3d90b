"""How numbers are written wherever the course prints one."""

import math


def rounded(value: float) -> str:
    """Three significant digits. A number without a decimal point is exactly whole."""
    value = float(value) + 0.0  # turns -0.0 into 0.0
    if value.is_integer() and abs(value) < 1e6:
        return f"{value:,.0f}"
    digits = max(1, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if digits <= 5 and abs(value) < 1e6 else f"{value:.2e}"
