"""A proxy that can be a bad network: it cuts connections, refuses new ones, delays every piece, or falls silent.

It listens on a unix socket or a TCP address, forwards to another, and knows nothing of what passes through. Separate
from the faults that use it, because tests of the product and the long proofs need the same bad network.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

Address = Path | tuple[str, int]
"""A unix socket, or host and port."""
PIECE_BYTES = 65_536


@dataclass(eq=False, slots=True)
class _Pair:
    """One connection: the client's side and ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    deaf: bool = False
    """Nothing reaches the client any more, and it is not told."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def abort(self) -> None:
        for side in (self.client, self.server):
            side.transport.abort()


class Proxy:
    """`async with Proxy(listen, target) as network:`; well-behaved until told otherwise."""

    def __init__(self, listen: Address, target: Address) -> None:
        self.listen = listen
        self._target = target
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._delay = 0.0

    async def __aenter__(self) -> Self:
        if isinstance(self.listen, Path):
            self._server = await asyncio.start_unix_server(self._accept, self.listen)
        else:
            self._server = await asyncio.start_server(self._accept, *self.listen)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        if isinstance(self.listen, Path):
            self.listen.unlink(missing_ok=True)

    @property
    def port(self) -> int:
        """Of a TCP address; for port 0 the one that was free."""
        assert self._server is not None
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    @property
    def open(self) -> int:
        """Connections that pass through now."""
        return len(self._pairs)

    def cut(self) -> int:
        """Reset every connection on both sides; how many there were. New ones are served."""
        pairs = list(self._pairs)
        for pair in pairs:
            pair.abort()
        return len(pairs)

    def refuse(self) -> None:
        """Close whatever connects from now on; connections that are open stay."""
        self._refusing = True

    def slow(self, seconds: float) -> None:
        """Every piece waits so long, in both directions."""
        self._delay = seconds

    def half_open(self) -> int:
        """What is open now stays open and never hears of its server again, which still hears it. New ones are well."""
        for pair in self._pairs:
            pair.deaf = True
        return len(self._pairs)

    def go_on(self) -> None:
        """Take new connections and be quick again. What was half open stays so: only `cut` ends it."""
        self._refusing = False
        self._delay = 0.0

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            if self._refusing:
                return
            with suppress(OSError):
                await self._serve(reader, client)
        finally:
            self._handlers.discard(task)
            client.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if isinstance(self._target, Path):
            back, server = await asyncio.open_unix_connection(self._target)
        else:
            back, server = await asyncio.open_connection(*self._target)
        pair = _Pair(client, server)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, server, pair), name="proxy to server")
                both.create_task(self._pass_on(back, client, pair), name="proxy to client")
        except* OSError:
            pass
        finally:
            self._pairs.discard(pair)
            pair.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair) -> None:
        while piece := await reader.read(PIECE_BYTES):
            if self._delay:
                await asyncio.sleep(self._delay)
            if pair.deaf and writer is pair.client:
                continue
            writer.write(piece)
            await writer.drain()
        if not pair.deaf:
            pair.abort()
