"""What a child runs between the fork and the server's program. Never imported: its text is given to `python -c`.

It exists so that no Python code runs between fork and exec inside our own process (which has threads): giving up
root and asking the kernel for a signal at the parent's death both happen here, in a fresh interpreter that becomes
the server. Only the standard library, and nothing is imported after root is given up: the account may be unable to
read the interpreter's files.

Arguments: pid of the parent, signal at its death, uid and gid to become (-1: stay), program, its arguments.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _become(parent: int, death_signal: int, uid: int, gid: int, command: list[str]) -> None:
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":  # after setuid, which clears it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            raise SystemExit(0)
    os.execv(command[0], command)  # noqa: S606 (there is no shell on purpose)


if __name__ == "__main__":
    try:
        _become(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
    except OSError as error:
        sys.stderr.write(f"FATAL:  cannot start {sys.argv[5]}: {error.strerror}\n")
        raise SystemExit(126) from None
