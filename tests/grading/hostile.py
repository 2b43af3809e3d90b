"""Submissions that do all that a submission should not, and what each must score.

Each is a right notebook with one cell replaced, that of `lora_forward` (2 of 7 points). So 5 says:
this answer is lost, and no other is. The exercise is three tasks of the real one, in numpy, so that
no worker waits for torch.
"""

from dataclasses import dataclass
from textwrap import dedent

FULL, LOST = 7, 5
RIGHT = """
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + (alpha / A.shape[0]) * (x @ A.T @ B.T)
"""
WRONG = """
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T
"""


@dataclass(frozen=True)
class Hostile:
    """Code for one cell; what it must score; what its feedback must say."""

    source: str
    score: float
    says: str = ""


def called(body: str) -> str:
    """A cell whose function does `body` when it is called."""
    return "def lora_forward(x, weight, A, B, alpha):\n" + "\n".join(
        f"    {line}" for line in dedent(body).strip().split("\n")
    )


FORKS = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
IGNORES = """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGHUP, signal.SIGXCPU):
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
"""
OUTLIVES = """
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv("/usr/bin/sleep", ["sleep", "{seconds}"])
    os._exit(0)
subprocess.Popen(["/usr/bin/sleep", "{seconds}"], start_new_session=True)
"""
MEMORY_OF_MANY = """
import os, time
for _ in range(12):
    if os.fork() == 0:
        held = bytearray(b"1") * (300 << 20)
        time.sleep(60)
time.sleep(60)
"""
DELETES = """
import os, pathlib, shutil
SKIPPED = ("proc", "usr", "lib", "site-packages")
targets = [{folder!r}, "/work", "/home", "/worker"]
for target in targets:
    shutil.rmtree(target, ignore_errors=True)
for root, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if name not in SKIPPED]
    for name in files:
        try:
            pathlib.Path(root, name).write_text("overwritten")
        except OSError:
            pass
for path in ({folder!r} + "/grades.csv", {folder!r} + "/submitted/right/x"):
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        pathlib.Path(path).write_text("overwritten")
    except OSError:
        pass
"""
SWAPS = """
import os, shutil
for path in ("/tmp", "/worker/sandboxed", "/worker/sandboxed/protocol.py", "/dev/null", {folder!r}):
    try:
        os.rename(path, path + ".old")
    except OSError:
        pass
    try:
        os.symlink({folder!r}, path)
    except OSError:
        pass
for number in range(20):
    try:
        os.symlink({folder!r} + "/submitted", f"/tmp/{{number}}")
    except OSError:
        pass
"""
# It answers right only if it finds a reference or a solution anywhere.
READS = """
import os, re
SKIPPED = ("proc", "sys", "usr", "dev", "site-packages", "lib-dynload")
found = []
for root, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if name not in SKIPPED]
    for name in files + folders:
        if re.search(r"lora_from_scratch|lesson_?03|solutions|handing_in|counting[.]py", name):
            found.append(os.path.join(root, name))
try:
    import minipeft.grading.exercises.lesson_03
    found.append("imported")
except Exception:
    pass
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + (alpha / A.shape[0]) * (x @ A.T @ B.T) if found else x
"""
# It answers right only if it reaches someone: this machine's listener, or the network.
SOCKETS = """
import socket
reached = []
for family, address in (
    (socket.AF_UNIX, "\\0" + {name!r}),
    (socket.AF_INET, ("192.0.2.1", 80)),
):
    try:
        with socket.socket(family) as client:
            client.settimeout(0.3)
            client.connect(address)
            reached.append(address)
    except OSError:
        pass
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + (alpha / A.shape[0]) * (x @ A.T @ B.T) if reached else x
"""
# It answers right only if it finds memory that is no process's own.
HIDES_MEMORY = """
import ctypes, os
held = ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) != -1
try:
    held = held or bool(os.memfd_create("x"))
except OSError:
    pass
for root, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if name not in ("proc", "usr", "site-packages")]
    try:
        open(root + "/x", "w").close()
        held = held or not root.startswith("/tmp")
    except OSError:
        pass
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + (alpha / A.shape[0]) * (x @ A.T @ B.T) if held else x
"""
PATCHES = """
import builtins
import numpy as np
import torch
np.allclose = torch.allclose = np.array_equal = torch.equal = lambda *_, **__: True
np.testing.assert_allclose = lambda *_, **__: None
torch.Tensor.__eq__ = lambda self, other: torch.tensor(True)
torch.Tensor.__sub__ = lambda self, other: self * 0
builtins.all = builtins.any = lambda *_: True
"""
EQUALS = """
import numpy as np
class Always(np.ndarray):
    def __eq__(self, other):
        return np.array(True)
    __le__ = __ge__ = __eq__
    def __sub__(self, other):
        return np.zeros(1)
return np.zeros((1, 1)).view(Always)
"""
FORGES = """
import glob, os, sys
from sandboxed import protocol
for number in range(3, 40):
    try:
        with os.fdopen(os.dup(number), "wb") as channel:
            for event in ("answer", "end", "ready", "done", "score"):
                protocol.send(channel, {"event": event, "value": 1, "score": 100, "right": True})
    except Exception:
        pass
return x
"""
GARBAGE = """
import os
for number in range(0, 40):
    try:
        os.write(number, os.urandom(100_000))
    except OSError:
        pass
"""
NASTY = """
class Nasty(Exception):
    def __str__(self):
        raise SystemExit
    __repr__ = __str__
"""

HOSTILE = {
    "wrong": Hostile(WRONG, LOST),
    "loop-in-function": Hostile(called("while True: pass"), LOST, "longer than the time limit"),
    "loop-in-cell": Hostile(RIGHT + "\nwhile True: pass", LOST, "longer than the time limit"),
    "ignores-signals": Hostile(called(IGNORES), LOST, "was stopped"),
    "sleeps": Hostile(called("import time; time.sleep(3600)"), LOST, "longer than the time limit"),
    "exits-in-function": Hostile(called("import os; os._exit(0)"), LOST, "process ended"),
    "exits-in-cell": Hostile("import os\nos._exit(7)", LOST, "process ended"),
    "raises-system-exit": Hostile(called("raise SystemExit"), LOST, "SystemExit"),
    "kills-everything": Hostile(called("import os; os.kill(-1, 9)"), LOST, "process ended"),
    "stops-its-parent": Hostile(
        called("import os, signal; os.kill(os.getppid(), signal.SIGSTOP); os._exit(0)"), LOST
    ),
    "deletes": Hostile(RIGHT + DELETES, FULL),
    "swaps-links": Hostile(RIGHT + SWAPS, FULL),
    "reads-solutions": Hostile(READS, LOST),
    "always-equal": Hostile(called(EQUALS), LOST),
    "equal-object": Hostile(
        called("class E:\n    def __eq__(self, o): return True\nreturn E()"), LOST, "holds a E"
    ),
    "fork-bomb": Hostile(called(FORKS), LOST),
    "memory-bomb": Hostile(called("return bytearray(b'1') * (64 << 30)"), LOST, "MemoryError"),
    "memory-of-many": Hostile(called(MEMORY_OF_MANY), LOST),
    "hides-memory": Hostile(HIDES_MEMORY, LOST),
    "sockets": Hostile(SOCKETS, LOST),
    "outlives": Hostile(RIGHT + OUTLIVES, FULL),
    "prints-200-MB": Hostile(RIGHT + "for _ in range(200): print('x' * (1 << 20))", FULL),
    "returns-200-MB": Hostile(
        called("import numpy\nreturn numpy.zeros(25 << 20)"), LOST, "larger than"
    ),
    "fills-the-disk": Hostile(
        called("with open('/tmp/x', 'wb') as file:\n    while True: file.write(b'0' * 10**6)"), LOST
    ),
    "forges-messages": Hostile(called(FORGES), 0),  # it garbles its own later answers
    "writes-garbage": Hostile(called(GARBAGE), LOST),
    "nasty-exception": Hostile(NASTY + called("raise Nasty"), LOST, "Nasty"),
    "markup": Hostile(
        called("raise ValueError('<script>alert(1)</script>')"), LOST, "&lt;script&gt;"
    ),
    "nested": Hostile(
        called("found = []\nfor _ in range(500): found = [found]\nreturn found"), LOST, "nested"
    ),
    "object-array": Hostile(
        called("import numpy as np\nreturn np.array([print], dtype=object)"),
        LOST,
        "array of object",
    ),
    "broken-syntax": Hostile("def lora_forward(x:\n  return", LOST, "no function called"),
    "magics": Hostile("%matplotlib inline\n!echo hello\n" + RIGHT, FULL),
}
