"""Becomes the PostgreSQL server, after giving up root and tying its life to the broker's.

Run as a program, never imported: ``python -I -S launch.py PARENT UID GID COMMAND...``. A program of
its own because code between fork and exec is unsafe in a process with threads, and because the
kernel forgets the death signal when the user id changes, so one place has to do both in order.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Drop root, ask the kernel for SIGINT when the parent dies, become the command.

    SIGINT is PostgreSQL's fast shutdown: a broker that is killed with SIGKILL leaves a cleanly
    stopped cluster. See prctl(2), ``PR_SET_PDEATHSIG``, and the PostgreSQL manual, "Shutting Down
    the Server".
    """
    parent, uid, gid, *command = sys.argv[1:]
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):
        sys.exit("The broker died before PostgreSQL started.")
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
