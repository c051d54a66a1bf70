"""`python -m testbed.whatsapp_web` runs a testbed and says how to reach it; `… tell ORDER name=value …` gives an order.

Everything that it writes is in one folder: a temporary one that goes with it, unless another is named.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from testbed.whatsapp_web.client_patch import ROOT_VARIABLE
from testbed.whatsapp_web.control import Control, Refused
from testbed.whatsapp_web.server import NotLoopback, Reach, Server

PORT: Final = 18_442
CONTROL_PORT: Final = 18_443


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "tell":
        return asyncio.run(_tell(options.control_port, options.order, options.values))
    logging.basicConfig(level=options.log, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        with asyncio.Runner(loop_factory=_loop()) as runner:
            runner.run(_run(options))
    except NotLoopback as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m testbed.whatsapp_web", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address; others are refused")
    parser.add_argument("--port", type=int, default=PORT, help=f"of the proxy for clients, {PORT} by default")
    parser.add_argument("--control-port", type=int, default=CONTROL_PORT, help=f"{CONTROL_PORT} by default")
    parser.add_argument(
        "--folder", type=Path, help="for certificates, the record and files; a temporary one by default"
    )
    parser.add_argument("--seed", help="the same words, the same keys: clients that were paired before know them again")
    parser.add_argument("--log", default="WARNING", help="level, like INFO")
    parser.add_argument("--json", action="store_true", help="free ports, and one line of JSON for programs")
    parser.add_argument("--ends-with-stdin", action="store_true", help="end when standard input is closed")
    commands = parser.add_subparsers(dest="command")
    tell = commands.add_parser("tell", help="give an order to a running testbed")
    tell.add_argument("order", help="one that does not exist lists all")
    tell.add_argument("values", nargs="*", metavar="name=value")
    return parser


def _loop() -> Any:
    try:
        import uvloop  # keeps TLS of thousands of connections in a tenth of the memory
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    if options.ends_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _until_closed, loop, stop)
    with tempfile.TemporaryDirectory(prefix="whatsapp-testbed-") as temporary:
        ports = (0, 0) if options.json else (options.port, options.control_port)
        seed = options.seed.encode() if options.seed else os.urandom(32)
        folder = options.folder or Path(temporary)
        async with Server(folder, seed=seed, host=options.host, port=ports[0], control_port=ports[1]) as server:
            print(json.dumps(asdict(server.reach)) if options.json else _explained(server.reach), flush=True)
            await stop.wait()


def _until_closed(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


def _explained(reach: Reach) -> str:
    return f"""\
A local WhatsApp Web, on loopback only. It is not WhatsApp, and nothing leaves this machine.

  proxy setting of clients   {reach.proxy}
  certificate to trust       SSL_CERT_FILE={reach.authority}
  root key to trust          {ROOT_VARIABLE}={reach.root}
  what arrived at phones     {reach.record}
  orders                     python -m testbed.whatsapp_web tell scan number=5511900000001 code=…

How to connect a client: docs/testbed.md. Ctrl-C ends it.
"""


async def _tell(port: int, order: str, values: Sequence[str]) -> int:
    """Give one order and print the answer; values that are JSON are taken as such."""
    arguments = {}
    for value in values:
        name, _, text = value.partition("=")
        arguments[name] = text if name in {"number", "to", "code", "sha256", "text"} else _value(text)
    try:
        async with Control(port) as control:
            print(json.dumps(await control.order(order, **arguments), indent=2))
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except OSError:
        print(f"No testbed takes orders on port {port}: start one, or name its --control-port.", file=sys.stderr)
        return 1
    return 0


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    sys.exit(main())
