"""Submissions that do all that a submission should not, and what each must score.

Each is a right notebook in which some cells are replaced, mostly that of `lora_forward` (2 of 7
points). So LOST says: this answer is lost, and no other is. An attack that looks for something
answers right only if it finds it. The exercise is three tasks of the real one, in numpy, so that no
worker waits for torch. The one address that is spoken to is a listener that the test opened.
"""

from dataclasses import dataclass, field
from textwrap import dedent, indent

FULL, LOST = 7, 5
FORWARD_CODE = "x @ weight.T + (alpha / A.shape[0]) * (x @ A.T @ B.T)"
PARAMETERS = {"lora_forward": "x, weight, A, B, alpha", "merge": "weight, A, B, alpha"}


@dataclass(frozen=True)
class Hostile:
    """What it tries; its cells; what it must score; what its feedback must say."""

    tries: str
    source: str
    score: float = LOST
    says: str = ""
    more: dict[str, str] = field(default_factory=dict)  # other cells


def function(name: str, body: str) -> str:
    """The source of a task's function with this body."""
    return f"\ndef {name}({PARAMETERS[name]}):\n{indent(dedent(body).strip(), '    ')}\n"


def called(body: str) -> str:
    """A cell whose function does `body` when it is called."""
    return function("lora_forward", body)


def attempted(body: str) -> str:
    """`found` is true if `body` sets it so and ends without an error."""
    body = indent(dedent(body).strip(), "    ")
    return f"found = False\ntry:\n{body}\nexcept Exception:\n    found = False\n"


def finds(body: str) -> str:
    """A cell that answers right only if `body` sets `found` to something true."""
    return attempted(body) + called(f"return {FORWARD_CODE} if found else x")


def system_call(number: int, *arguments: str) -> str:
    """Whether a system call does anything but fail; x86-64's numbers."""
    given = ", ".join(["number", *arguments])
    return finds(
        f"import ctypes\nnumber = {number}\nfound = ctypes.CDLL(None).syscall({given}) >= 0"
    )


def left_behind(leave: str, find: str, tries: str) -> Hostile:
    """One task leaves something, another answers right only if it finds it."""
    merge = "return weight + alpha / A.shape[0] * (B @ A) if found else weight"
    cells = {"merge": function("merge", attempted(find) + merge)}
    return Hostile(tries, called(attempted(leave) + f"return {FORWARD_CODE}"), more=cells)


def sends(frames: str, then: str = "return x") -> str:
    """A function that writes messages of its own to every descriptor, and goes on."""
    return called(SENDS + frames + "\n" + then)


RIGHT, WRONG = called(f"return {FORWARD_CODE}"), called("return x @ weight.T")
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
for path in ("/tmp", "/worker/sandboxed", "/worker/sandboxed/call.py", "/dev/null", {folder!r}):
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
READS = """
import os, re
SKIPPED = ("proc", "sys", "usr", "dev", "site-packages", "lib-dynload")
SOUGHT = r"^[0-9][0-9]_.*ipynb|solutions|exercises|handing_in|marking|^(asked|compare)[.]py"
found = []
for root, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if name not in SKIPPED]
    for name in files + folders:
        if re.search(SOUGHT, name):
            found.append(os.path.join(root, name))
"""
IMPORTS = """
import importlib
lessons = [f"exercises.lesson_{number:02}" for number in range(19)]
for name in (*lessons, "exercises", "exercises.solutions", "compare", "marking"):
    try:
        found = importlib.import_module("minipeft.grading." + name) or found
    except ImportError:
        pass
"""
UNIX = """
import socket
client = socket.socket(socket.AF_UNIX)
client.settimeout(0.3)
client.connect("\\0" + {name!r})
found = True
"""
TCP = """
import socket
client = socket.socket(socket.AF_INET)
client.settimeout(0.3)
client.connect(("127.0.0.1", {port}))
found = True
"""
HIDES_MEMORY = """
import ctypes, os
found = ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) != -1
try:
    found = found or bool(os.memfd_create("x"))
except OSError:
    pass
for root, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if name not in ("proc", "usr", "site-packages")]
    try:
        open(root + "/x", "w").close()
        found = found or not root.startswith("/tmp")
    except OSError:
        pass
"""
PATHS = """
import os, sys, glob, numpy
told = [*sys.path, sys.executable, sys.prefix, os.getcwd(), numpy.__file__, *os.environ.values()]
told += [os.path.realpath(path) for path in ("/worker", "/tmp", "/packages", "/python")]
patterns = ("/proc/*/mountinfo", "/proc/*/cmdline", "/proc/*/environ", "/proc/*/maps",
            "/proc/mounts", "/etc/mtab", "/packages/*/site-packages/*.pth",
            "/packages/*/site-packages/*.dist-info/direct_url.json")
for pattern in patterns:
    for path in glob.glob(pattern):
        try:
            told.append(open(path, errors="replace").read())
        except OSError:
            pass
found = any(path in text for path in {paths!r} for text in told)
"""
OTHERS_INPUTS = """
import gc, sys
frame = sys._getframe()
seen = []
while frame:
    seen += list(frame.f_locals.values())
    frame = frame.f_back
seen += gc.get_objects()
requests = [o for o in seen if isinstance(o, dict) and "function" in o and "cases" in o]
found = len({o["function"] for o in requests if isinstance(o["function"], str)}) > 1
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
SENDS = """
import json, os, struct, time
import numpy as np, safetensors.numpy as st
from sandboxed import protocol
def to_all(*frames):
    for number in range(64):
        try:
            for frame in frames:
                os.write(number, frame)
        except OSError:
            pass
"""
FORGES = """
for event in ("answer", "end", "ready", "done", "score", "missing", "calling"):
    told = {"event": event, "value": 1, "score": 100, "right": True, "status": 0}
    to_all(protocol.message(told))
"""
FORGES_TYPES = """
odd = [None, True, -1, 10**9, 2.5, "1", [0], {"a": 1}, float("nan")]
frames = [protocol.message(o) for o in odd]
frames += [protocol.message({"event": e, "index": o, "value": o, "status": o})
           for e in ("cell", "error", "answer", ["cell"], None) for o in odd]
to_all(*frames)
"""
FLOODS = """
while True:
    to_all(protocol.message({"event": "cell", "index": 0}) * 50)
"""
NAMED_OFTEN = """
tree = {"dict": [["event", {"plain": "answer"}], ["value", {"list": [{"array": "0"}] * 5000}]]}
text = np.frombuffer(json.dumps(tree).encode(), np.uint8)
frame = st.save({"0": np.zeros(200_000), "tree": text})
to_all(struct.pack(">I", len(frame)) + frame)
"""
LATE_FORGER = """
if os.fork() == 0:
    os.setsid()
    while True:
        to_all(protocol.message({"event": "answer", "value": 1}))
        time.sleep(0.01)
"""
PATCHED_PROTOCOL = """
import numpy as np
import sandboxed.call, sandboxed.protocol, sandboxed.worker
def answer(function, arguments, calls=1, tensors=True):
    return arguments[0] @ arguments[1].T
sandboxed.worker.call = sandboxed.call.call = answer
sandboxed.protocol._checked = lambda array: array
sandboxed.worker.raised = lambda error: 1 / 0
"""
NASTY = """
class Nasty(Exception):
    def __str__(self):
        raise SystemExit
    __repr__ = __str__
"""
NASTY_CLASS = """
class Meta(type):
    @property
    def __mro__(self):
        raise KeyboardInterrupt
    @property
    def __name__(self):
        raise SystemExit
class Nasty(Exception, metaclass=Meta):
    pass
"""
SEGFAULT = "import ctypes; ctypes.string_at(0)"
RAISES_LIMITS = """
import resource
for name in ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_CPU"):
    for value in (-1, 1 << 60):
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
            found = True
        except (ValueError, OSError):
            pass
"""
MANY_FILES = """
made = 0
try:
    for made in range(100_000):
        open(f"/tmp/{made}", "w").close()
except OSError:
    pass
found = made > 10_000
"""
MANY_ATTRIBUTES = """
import os
open("/tmp/x", "w").close()
for number in range(1000):
    os.setxattr("/tmp/x", f"user.{number}", b"x" * 60_000)
found = True
"""
MANY_LOCKS = """
import fcntl
with open("/tmp/x", "wb+") as file:
    file.truncate(1 << 20)
    for place in range(0, 1 << 12, 2):
        fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
found = True
"""
SEMAPHORES = """
import ctypes, multiprocessing
found = ctypes.CDLL(None).semget(0, 32_000, 0o1600) != -1
try:
    found = bool(multiprocessing.Semaphore()) or found
except OSError:
    pass
"""
REGAINS = """
import ctypes, os
libc = ctypes.CDLL(None)
ways = [libc.unshare(0x10000000), libc.unshare(0x20000), libc.chroot(b"/tmp"),
        libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None), libc.umount2(b"/tmp", 2),
        libc.prctl(38, 0, 0, 0, 0), libc.setuid(0), libc.sethostname(b"x", 1)]
found = any(way == 0 for way in ways)
"""
LIES = """
class Lies(list):
    def __iter__(self):
        while True:
            yield 1
    def __len__(self):
        return 3
return Lies()
"""
THREADS = """
import threading, time
for _ in range(1000):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
return x
"""
BIG_STACK = """
import sys
sys.setrecursionlimit(10**9)
def deeper(n):
    return deeper(n + 1) + 1
return deeper(0)
"""
PTRACE = "import ctypes, os\nfound = ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0"
LISTENS = """
import os, socket, time
if os.fork() == 0:
    try:
        server = socket.socket(socket.AF_UNIX)
        server.bind("\\0left")
        server.listen()
        time.sleep(60)
    finally:
        os._exit(0)
"""
IMAGE = "<img src=x onerror=alert(1)>"

HOSTILE = {
    # time
    "loop-in-function": Hostile(
        "never returns", called("while True: pass"), says="longer than the time limit"
    ),
    "loop-in-cell": Hostile(
        "a cell that never ends", RIGHT + "\nwhile True: pass", says="longer than the time limit"
    ),
    "ignores-signals": Hostile("ignores what ends it", called(IGNORES), says="was stopped"),
    "sleeps": Hostile(
        "waits without processor time",
        called("import time; time.sleep(3600)"),
        says="longer than the time limit",
    ),
    "stops-itself": Hostile(
        "stands still", called("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    ),
    "stops-its-parent": Hostile(
        "stops the worker",
        called("import os, signal; os.kill(os.getppid(), signal.SIGSTOP); os._exit(0)"),
    ),
    "lies-about-its-length": Hostile("an endless list", called(LIES)),
    # ends
    "exits-in-function": Hostile(
        "ends its process", called("import os; os._exit(0)"), says="process ended"
    ),
    "exits-in-cell": Hostile(
        "ends its process in a cell", "import os\nos._exit(7)", says="process ended"
    ),
    "raises-system-exit": Hostile(
        "raises what ends Python", called("raise SystemExit"), says="SystemExit"
    ),
    "interrupts": Hostile(
        "raises what Ctrl-C raises", called("raise KeyboardInterrupt"), says="KeyboardInterrupt"
    ),
    "aborts": Hostile("aborts", called("import os; os.abort()"), says="process ended"),
    "segfaults": Hostile("reads address 0", called(SEGFAULT), says="process ended"),
    "kills-everything": Hostile(
        "kills all it can", called("import os; os.kill(-1, 9)"), says="process ended"
    ),
    "kills-the-worker": Hostile(
        "kills its parent", called("import os; os.kill(os.getppid(), 9)"), says="process ended"
    ),
    "at-exit": Hostile(
        "answers at exit", "import atexit\natexit.register(lambda: 1 / 0)" + WRONG
    ),
    # memory and disk
    "fork-bomb": Hostile("forks for ever", called(FORKS)),
    "memory-bomb": Hostile(
        "takes 64 GiB", called("return bytearray(b'1') * (64 << 30)"), says="MemoryError"
    ),
    "memory-of-many": Hostile("takes 3.6 GiB in twelve processes", called(MEMORY_OF_MANY)),
    "threads": Hostile("starts 1,000 threads", called(THREADS)),
    "recursion": Hostile("overflows the stack", called(BIG_STACK)),
    "hides-memory": Hostile("memory that is no process's", finds(HIDES_MEMORY)),
    "many-files": Hostile("100,000 files in /tmp", finds(MANY_FILES)),
    "many-attributes": Hostile("extended attributes", finds(MANY_ATTRIBUTES)),
    "many-locks": Hostile("locks on single bytes", finds(MANY_LOCKS)),
    "semaphores": Hostile("semaphores", finds(SEMAPHORES)),
    "fills-the-disk": Hostile(
        "writes for ever",
        called("with open('/tmp/x', 'wb') as file:\n    while True: file.write(b'0' * 10**6)"),
    ),
    "prints-200-MB": Hostile(
        "prints 200 MB", RIGHT + "for _ in range(200): print('x' * (1 << 20))", FULL
    ),
    "raises-limits": Hostile("raises its own limits", finds(RAISES_LIMITS)),
    # answers
    "wrong": Hostile("a wrong answer, to compare", WRONG),
    "always-equal": Hostile("an array that equals all", called(EQUALS)),
    "equal-object": Hostile(
        "an object that equals all",
        called("class E:\n    def __eq__(self, o): return True\nreturn E()"),
        says="holds a E",
    ),
    "returns-200-MB": Hostile(
        "a large answer", called("import numpy\nreturn numpy.zeros(25 << 20)"), says="larger than"
    ),
    "returns-empty-huge": Hostile(
        "2^40 empty rows", called("import numpy\nreturn numpy.zeros((1 << 40, 0))"), says="shape"
    ),
    "400-digits": Hostile("a number of 400 digits", called("return 10**400"), says="64 bits"),
    "5000-digits": Hostile("one of 5,000 digits", called("return 10**5000"), says="64 bits"),
    "not-a-number": Hostile(
        "nan, which is not unequal", called("return x @ weight.T * float('nan')"), says="nan"
    ),
    "nested": Hostile(
        "500 lists in each other",
        called("found = []\nfor _ in range(500): found = [found]\nreturn found"),
        says="nested",
    ),
    "itself": Hostile(
        "a list that holds itself", called("found = []\nfound.append(found)\nreturn found")
    ),
    "many-values": Hostile(
        "a million values", called("return list(range(10**6))"), says="more than 20000"
    ),
    "object-array": Hostile(
        "an array of objects",
        called("import numpy as np\nreturn np.array([print], dtype=object)"),
        says="array of object",
    ),
    "nasty-exception": Hostile(
        "an exception whose text exits", NASTY + called("raise Nasty"), says="Nasty"
    ),
    "nasty-class": Hostile(
        "an exception whose class exits", NASTY_CLASS + called("raise Nasty"), says="Exception"
    ),
    "markup": Hostile(
        "markup in an exception",
        called("raise ValueError('<script>alert(1)</script>')"),
        says="&lt;script&gt;",
    ),
    "markup-in-a-name": Hostile(
        "markup in a class's name",
        called(f"raise type({IMAGE!r}, (Exception,), {{}})('x')"),
        says="&lt;img",
    ),
    "turns-the-line": Hostile(
        "characters that reverse a line", called("raise ValueError('\\u202e0 fo 2')")
    ),
    "half-a-surrogate": Hostile(
        "text that no encoding holds", called("raise ValueError('\\ud800')")
    ),
    "broken-syntax": Hostile(
        "no Python", "def lora_forward(x:\n  return", says="no function called"
    ),
    "magics": Hostile(
        "nothing: what Jupyter runs", "%matplotlib inline\n!echo hello\n" + RIGHT, FULL
    ),
    # messages
    "forges-messages": Hostile("sends messages of its own", sends(FORGES)),
    "forges-types": Hostile("sends messages with odd entries", sends(FORGES_TYPES)),
    "floods": Hostile("sends without end", sends(FLOODS)),
    "names-one-array-often": Hostile("8 GB in one message", sends(NAMED_OFTEN)),
    "late-forger": Hostile("a process left behind sends for the next task", sends(LATE_FORGER)),
    "writes-garbage": Hostile(
        "noise to every descriptor",
        sends("to_all(os.urandom(9999))"),
    ),
    "announces-4-GB": Hostile(
        "a length of 4 GB", sends(r"to_all(b'\xff' * 4)")
    ),
    "half-a-message": Hostile(
        "a message that never ends",
        sends(r"to_all(b'\0\0\xff\xff')", then="os._exit(0)"),
    ),
    "patches-the-worker": Hostile("replaces the worker's functions", WRONG + PATCHED_PROTOCOL),
    # reads and reaches
    "deletes": Hostile("deletes and overwrites", RIGHT + DELETES, FULL),
    "swaps-links": Hostile("puts links in place", RIGHT + SWAPS, FULL),
    "reads-solutions": Hostile("looks for solutions", finds(READS)),
    "imports-references": Hostile("imports the references", finds(IMPORTS)),
    "reads-other-inputs": Hostile("looks for other tasks' inputs", finds(OTHERS_INPUTS)),
    "reads-paths": Hostile("looks for the machine's paths", finds(PATHS)),
    "unix-socket": Hostile("speaks to a listener", finds(UNIX)),
    "tcp-socket": Hostile("speaks to a listener", finds(TCP)),
    "vsock": Hostile("a socket to the host", finds("import socket\nfound = socket.socket(40, 1)")),
    "netlink": Hostile(
        "a socket to the kernel", finds("import socket\nfound = socket.socket(16, 3)")
    ),
    "regains-rights": Hostile("mounts, namespaces, root", finds(REGAINS)),
    "outlives": Hostile("leaves processes behind", RIGHT + OUTLIVES, FULL),
    "keyring-read": Hostile(
        "the session keyring", system_call(250, "10", "-3", 'b"user"', 'b"{key}"', "0")
    ),
    "keyring-own": Hostile("a keyring of its own", system_call(250, "1", "None")),
    "keyring-add": Hostile(
        "adds a key", system_call(248, 'b"user"', 'b"k"', 'b"v"', "1", "-4")
    ),
    "io-uring": Hostile("io_uring", system_call(425, "8", "ctypes.create_string_buffer(256)")),
    "userfaultfd": Hostile("userfaultfd", system_call(323, "1")),
    "perf": Hostile(
        "perf events", system_call(298, "ctypes.create_string_buffer(128)", "0", "-1", "-1", "0")
    ),
    "bpf": Hostile("bpf", system_call(321, "5", "ctypes.create_string_buffer(128)", "128")),
    "ptrace": Hostile("traces the worker", finds(PTRACE)),
    "message-queue": Hostile(
        "a POSIX message queue", system_call(240, 'b"q"', "0o102", "0o600", "None")
    ),
    "system-v-queue": Hostile("a System V queue", system_call(68, "0", "0o1600")),
    # from one task to the next
    "leaves-a-file": left_behind(
        "open('/tmp/x', 'w').write('1')",
        "import os\nfound = os.path.exists('/tmp/x')",
        "a file for the next task",
    ),
    "leaves-a-segment": left_behind(
        "import ctypes\nctypes.CDLL(None).shmget(4711, 4096, 0o1600)",
        "import ctypes\nfound = ctypes.CDLL(None).shmget(4711, 4096, 0) != -1",
        "shared memory for the next task",
    ),
    "leaves-a-listener": left_behind(
        LISTENS,
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0left')\nfound = True",
        "a process that answers the next task",
    ),
    "leaves-a-name": left_behind(
        "import sys, builtins, os\nbuiltins.left = sys.left = True\nos.environ['LEFT'] = '1'",
        "import sys, builtins, os\nfound = hasattr(sys, 'left') or 'LEFT' in os.environ",
        "a name in a module for the next task",
    ),
    "leaves-a-key": left_behind(
        "import ctypes\nctypes.CDLL(None).syscall(248, b'user', b'left', b'1', 1, -5)",
        "import ctypes\n"
        "found = ctypes.CDLL(None).syscall(250, 10, -5, b'user', b'left', 0) > 0",
        "a key in the user's keyring",
    ),
}  # fmt: skip
