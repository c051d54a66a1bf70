"""A testbed in a process of its own, for tests, demos and proofs.

The child's standard input is a pipe that only we hold: when this process is gone, however it died, the child ends.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final, Self

from testbed.whatsapp_web.client_patch import environment
from testbed.whatsapp_web.control import Control
from testbed.whatsapp_web.server import Reach

_PROJECT: Final = str(Path(__file__).resolve().parents[2])
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0


class DidNotStart(Exception):
    """The testbed ended or said nothing."""


class Testbed:
    """`async with Testbed(folder) as testbed:` runs one; its record is in the folder."""

    __test__ = False
    """It is no test, whatever pytest thinks of its name."""

    def __init__(self, folder: Path, *, log: Path | None = None) -> None:
        self._folder = folder
        self._log = log
        self._child: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and learn how to reach it."""
        command = [sys.executable, "-m", "testbed.whatsapp_web", "--json", "--ends-with-stdin"]
        with (self._log or Path(os.devnull)).open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *command,
                "--folder",
                str(self._folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log if self._log is not None else None,
                env=os.environ | {"PYTHONPATH": _PROJECT},
                start_new_session=True,
            )
        assert self._child.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await self._child.stdout.readline()
            self.reach = Reach(**json.loads(line))
        except (TimeoutError, json.JSONDecodeError):
            await self.stop()
            raise DidNotStart("The testbed did not say how to reach it.") from None

    async def stop(self) -> None:
        """End it, if it runs."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            child.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await child.wait()
            except TimeoutError:
                child.kill()
        await child.wait()
        if child.stdin is not None:
            child.stdin.close()

    @property
    def pid(self) -> int | None:
        """Of the running child."""
        return self._child.pid if self._child is not None else None

    def control(self) -> Control:
        """A new connection to its control."""
        return Control(self.reach.control)

    def environment(self) -> dict[str, str]:
        """What a client's process must have in its environment when it starts, beside all else."""
        return environment(self.reach.root, self.reach.authority)
