"""Runs a command under a seccomp filter that refuses io_uring_setup with EPERM, as containers do.

usage: without_io_uring.py COMMAND ARGUMENT...

For x86-64 and aarch64, where the system call has the same number.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
IO_URING_SETUP = 425
EPERM = 1

# Each instruction: code, jump if true, jump if false, constant.
FILTER = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in [
        (0x20, 0, 0, 0),  # load the system call's number
        (0x15, 0, 1, IO_URING_SETUP),  # another one: skip the next
        (0x06, 0, 0, 0x00050000 | EPERM),  # fails with EPERM
        (0x06, 0, 0, 0x7FFF0000),  # is allowed
    ]
)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(FILTER) // 8, FILTER)
    zero = ctypes.c_ulong(0)
    for refused in [
        libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero),
        libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(program), zero, zero),
    ]:
        if refused:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
