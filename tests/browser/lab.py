"""A lab server as `make lab` starts it, on a workbook and with settings of its own."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS_TO_START = 60

# Without this, cells out of sight are not on the page at all.
NOTEBOOK_SETTINGS = {"windowingMode": "none"}


class LabServer:
    """Context manager: JupyterLab over a fresh workbook, by the Makefile's own `lab` target.

    Args:
        folder: an empty folder; the workbook is `folder / "workbook"`.
        notebooks: what to put beside the lessons in it.
    """

    def __init__(self, folder: Path, notebooks: list[Path]):
        self.folder, self.workbook = folder, folder / "workbook"
        (self.workbook / "notebooks").mkdir(parents=True)
        for path in notebooks:
            shutil.copy(path, self.workbook / "notebooks")
        self.token = secrets.token_hex(16)
        self.port = _free_port()
        self.log = folder / "lab.log"

    def url(self, notebook: str) -> str:
        """Where the browser finds a notebook; `reset` leaves no tabs of an earlier one."""
        path = f"lab/tree/notebooks/{notebook}"
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}&reset"

    def __enter__(self):
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=ROOT,
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that the kernels can be ended with it
            )
        self._wait_until_ready()
        return self

    def __exit__(self, *error):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _command(self) -> list[str]:
        flags = [
            f"--workbook={self.workbook}",
            "--no-browser",
            "--ip=127.0.0.1",
            f"--port={self.port}",
            "--port-retries=0",
            f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True",
        ]
        # This environment stands for .venv, which `-o` tells make to take as it is.
        make = ["make", "lab", "-o", ".venv/.ready"]
        return [*make, f"RUN={sys.executable}", f"LAB_FLAGS={' '.join(flags)}"]

    def _environment(self) -> dict[str, str]:
        config = self.folder / "config"
        settings = self.folder / "settings"
        tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
        _write_json(tracker, NOTEBOOK_SETTINGS)
        own = {
            "JUPYTER_CONFIG_DIR": config,
            "JUPYTER_DATA_DIR": self.folder / "data",
            "JUPYTER_RUNTIME_DIR": self.folder / "runtime",
            "JUPYTERLAB_SETTINGS_DIR": settings,
            "JUPYTERLAB_WORKSPACES_DIR": self.folder / "workspaces",
            "IPYTHONDIR": self.folder / "ipython",
            "MINIPEFT_HOME": self.folder / "minipeft",
        }
        # A person watches this: show the progress bars that tests and CI leave out.
        kept = {k: v for k, v in os.environ.items() if k not in ("CI", "PYTEST_CURRENT_TEST")}
        return kept | {name: str(path) for name, path in own.items()} | {"MAKEFLAGS": ""}

    def _wait_until_ready(self) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/status",
            headers={"Authorization": f"token {self.token}"},
        )
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(request, timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        if self.process.poll() is None:
            self.__exit__()
        raise RuntimeError(f"the lab server did not start; its log:\n{self.log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
