"""Settings of the environment that depend on the processor, for this process and its children."""

import getpass
import tempfile
from collections.abc import Mapping
from pathlib import Path


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What a test run adds to `environment`; what it holds already stays.

    OMP_NUM_THREADS: the models are so small that a second thread costs more than it brings.
    OMP_WAIT_POLICY: where two kernels run at once, threads that spin while waiting cost 20x.
    TORCHINDUCTOR_CACHE_DIR: torch.compile's cache does not know for which instruction set its code
    was made, so each set that `make test-portable` stands in for has a folder of its own.
    """
    wanted = {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if kind := environment.get("ATEN_CPU_CAPABILITY"):
        folder = Path(tempfile.gettempdir(), f"torchinductor-{getpass.getuser()}-{kind}")
        wanted["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    return {name: value for name, value in wanted.items() if name not in environment}
