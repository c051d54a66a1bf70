"""`python -m bench.part sender|scheduler`: a real part of Fleetcast, with the null transport in place of WhatsApp.

It stops when its standard input is closed, so nothing stays behind when a benchmark dies.
"""

import os
import signal
import sys
import threading

from bench.null_transport import NullTransport
from fleetcast.cli.session import served_runtime
from fleetcast.domain.device import TransportKind
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.runtime import Runtime


def _stop_with_parent() -> None:
    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: a lock of its buffer would be held when the interpreter ends
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


async def _run(runtime: Runtime) -> None:
    run = {"sender": run_sender, "scheduler": run_scheduler}[sys.argv[1]]
    await run(runtime, transports={TransportKind.SIMULATOR: NullTransport()})


if __name__ == "__main__":
    _stop_with_parent()
    served_runtime(sys.argv[1], _run)
