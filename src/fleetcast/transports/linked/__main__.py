"""`python -m fleetcast.transports.linked`: a child of the transport, which starts it; nobody else does.

Its socket is the file descriptor that it is told. What it or the library prints goes to standard error, which the
parent reads into its log.
"""

import asyncio
import gc
import os
import resource
import socket
import sys
from random import Random

DESCRIPTORS_A_DEVICE = 6
"""Open files: a connection, a session file, its lock, and room for what is passing."""
THREADS_BESIDE = 64
FEW_FILES = 78


def main(fd: int, devices: int) -> int:
    """Serve the parent at the other end of this socket."""
    os.umask(0o077)
    os.dup2(2, 1)  # the library prints
    if not _enough_files(devices):
        return FEW_FILES
    code = asyncio.run(_serve(fd, devices))
    sys.stderr.flush()
    os._exit(code)  # threads of the library never end


def _enough_files(devices: int) -> bool:
    wanted = 256 + DESCRIPTORS_A_DEVICE * devices
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if soft < wanted and most < wanted:
        sys.stderr.write(
            f"{devices} linked devices need {wanted} open files and this process may have {most}: raise the limit "
            "(`ulimit -n`, or LimitNOFILE= of the service).\n"
        )
        return False
    return True


async def _serve(fd: int, devices: int) -> int:
    gc.disable()  # what is loaded stays: it need not be looked through for garbage again and again
    from fleetcast.clock import Clock
    from fleetcast.transports.linked.child import Child
    from fleetcast.transports.linked.library import prepare
    from fleetcast.transports.linked.protocol import LONGEST_LINE, Wire

    gc.freeze()
    gc.enable()
    prepare(devices + THREADS_BESIDE)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd), limit=LONGEST_LINE)
    await Child(Wire(reader, writer), Clock(), Random()).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
