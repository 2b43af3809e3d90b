"""The walls that a task builds around itself, inside bubblewrap's, before a student's code runs.

A task gets mounts and System V objects of its own, so that nothing which it leaves behind is seen
by the next one, and a /tmp with a counted number of bytes and files. Then it gives up the right to
mount, and a filter in the kernel's classic BPF refuses, for it and all that it starts, the system
calls that hold memory which no limit counts, that reach another process or the machine's keys, or
that open a socket. See seccomp(2), mount_namespaces(7) and keyrings(7).
"""

import ctypes
import errno
import os
import platform
import struct

SCRATCH = "size=64m,nr_inodes=4096,mode=1777"  # of /tmp
NEW_MOUNTS, NEW_IPC = 0x0002_0000, 0x0800_0000  # CLONE_NEWNS, CLONE_NEWIPC
RECURSIVE, PRIVATE, NOSUID, NODEV = 0x4000, 0x4_0000, 2, 4  # MS_*

# system call: its numbers on x86-64 and on aarch64; None where there is none
REFUSED = {
    # System V and POSIX objects, and files without a name: memory that no limit counts
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "semop": (65, 193),
    "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463), "vmsplice": (278, 75),
    "tee": (276, 77), "splice": (275, 76), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "fanotify_init": (300, 262), "userfaultfd": (323, 282),
    # other processes and the machine
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "bpf": (321, 280), "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "syslog": (103, 116), "quotactl": (179, 60),
    # sockets of any family (a socket pair reaches nobody)
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    # mounts and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
}  # fmt: skip
# commands of fcntl: locks of byte ranges (one for each byte), larger pipes, leases
FCNTL, FCNTL_REFUSED = (72, 25), (6, 7, 37, 38, 1024, 1026, 1031)

# machine: (AUDIT_ARCH_*, column of the tables)
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.ENOSYS
OTHER_ABI = 0x40000000  # x86-64's second set of system call numbers starts here
ARGUMENT_1 = 24  # where the second argument's lower half stands in seccomp_data
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
CAPABILITY_VERSION_3 = 0x20080522


class Program(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def build() -> None:
    """Raise all walls around this process. Raises OSError where the kernel declines."""
    own_scratch()
    drop_capabilities()
    refuse()


def own_scratch() -> None:
    """Mounts and System V objects of this process's own, with an empty /tmp."""
    unshare(NEW_MOUNTS | NEW_IPC)
    mount(None, "/", None, RECURSIVE | PRIVATE)
    mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, SCRATCH)
    os.chdir("/tmp")


def unshare(what: int) -> None:
    """unshare(2). Raises OSError."""
    _done(ctypes.CDLL(None, use_errno=True).unshare(what), "unshare")


def mount(source: object, place: object, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2); None and "" are the kernel's NULL. Raises OSError."""
    names = [os.fsencode(name) if name else None for name in (source, place, kind)]
    libc = ctypes.CDLL(None, use_errno=True)
    _done(libc.mount(*names, ctypes.c_ulong(flags), data.encode() or None), f"mount {place}")


def drop_capabilities() -> None:
    """Give up every capability, the one to mount included."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    _done(libc.capset(header, bytes(24)), "capset")


def refuse() -> None:
    """Let the refused calls fail with ENOSYS from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    _done(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if platform.machine() not in MACHINES:
        raise OSError(errno.ENOSYS, f"no system call filter for {platform.machine()}")
    instructions = program(*MACHINES[platform.machine()])
    given = Program(len(instructions) // 8, instructions)
    _done(libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(given), 0, 0), "seccomp")


def program(architecture: int, column: int) -> bytes:
    """The filter: another architecture, another ABI, or a call of the tables is refused.

    Every instruction is (code, jump if true, jump if false, constant); a jump counts lines.
    """
    numbers = [numbers[column] for numbers in REFUSED.values() if numbers[column] is not None]
    tests = [(AT_LEAST, OTHER_ABI), *((EQUAL, number) for number in numbers)]
    commands = len(FCNTL_REFUSED)
    after = commands + 3  # lines behind the tests, up to the one that refuses
    lines = [(LOAD, 0, 0, 4), (EQUAL, 0, len(tests) + after + 1, architecture), (LOAD, 0, 0, 0)]
    for place, (code, constant) in enumerate(tests):
        lines.append((code, len(tests) - place - 1 + after, 0, constant))
    lines += [(EQUAL, 0, commands + 1, FCNTL[column]), (LOAD, 0, 0, ARGUMENT_1)]
    for place, command in enumerate(FCNTL_REFUSED):
        lines.append((EQUAL, commands - place, 0, command))
    lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _done(status: int, what: str) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
