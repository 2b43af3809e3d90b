"""Closes the ways to hold memory that no limit counts: shared segments and files without a name.

A filter in the kernel's classic BPF, valid for this process and all that it starts. See seccomp(2):
every instruction is (code, jump if true, jump if false, constant).
"""

import ctypes
import errno
import platform
import struct

# machine: (AUDIT_ARCH_*, numbers of shmget, memfd_create, memfd_secret)
MACHINES = {
    "x86_64": (0xC000003E, (29, 319, 447)),
    "aarch64": (0xC00000B7, (194, 279, 447)),
}
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.ENOSYS
OTHER_ABI = 0x40000000  # x86-64's second set of system call numbers starts here
PR_SET_SECCOMP, FILTER = 22, 2


class Program(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_hidden_memory() -> None:
    """Let those calls fail with ENOSYS from now on. Raises OSError if the kernel declines."""
    if platform.machine() not in MACHINES:
        return
    instructions = program(*MACHINES[platform.machine()])
    given = Program(len(instructions) // 8, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(given), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def program(architecture: int, numbers: tuple[int, ...]) -> bytes:
    """The filter: another architecture, another ABI, or one of `numbers` is refused."""
    tests = [(AT_LEAST, OTHER_ABI), *((EQUAL, number) for number in numbers)]
    lines = [(LOAD, 0, 0, 4), (EQUAL, 0, len(tests) + 2, architecture), (LOAD, 0, 0, 0)]
    for place, (code, constant) in enumerate(tests):
        lines.append((code, len(tests) - place, 0, constant))  # to the last line
    lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)
