"""Makes the lessons and the solutions part of a plain `pytest`: nbval runs their cells in order.

The options for it are in pyproject.toml. What nbval compares is widened here, to allow for
processors that round differently.
"""

from tests.notebooks import kernels, tolerance

pytest_plugins = ["tests.missing"]
collect_ignore = ["exercises"]  # their stubs are there to fail

kernels.isolate()
tolerance.install()
