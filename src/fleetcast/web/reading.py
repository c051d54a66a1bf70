"""Connections of the dashboard and the API: whoever does not read, or does not finish asking, is let go.

Uvicorn stops producing for a browser that does not take what it is sent, and then waits for it without an end: neither
the lifetime of a stream nor a stop of the process reaches an answer that waits there. It also waits without an end for
the rest of a request, however much of it came already. Separate from the application, which never sees a connection.
"""

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

UNREAD_BYTES = 64 * 1024
"""What the kernel may keep for one browser (it allows twice as much). By itself it took three megabytes, minutes of
events, before anything showed that nobody reads."""
READ_WITHIN = 30.0
"""Seconds in which a browser has to take what the kernel could not hold for it: a page or one event."""
READ_WITHIN_AT_STOP = 1.0
"""The same once the process stops."""
LARGEST_HEAD = 64 * 1024
"""Bytes of a request before its content: the address and all headers."""
HEAD_WITHIN = 10.0
"""Seconds in which they have to come, from the connection or the first byte of a later request."""
CONTENT_WITHIN = 30.0
"""Seconds in which a request's content has to come, and a second more for each `SLOWEST` bytes that did."""
SLOWEST = 1_000
"""Bytes a second."""


class ReadingConnection(HttpToolsProtocol):
    """Uvicorn's connection with a limit to its patience."""

    letting_go: asyncio.TimerHandle | None = None
    """What ends the connection, while something lies unread."""
    hurrying: asyncio.TimerHandle | None = None
    """What ends the connection, while the rest of a request is awaited."""
    _within = READ_WITHIN
    _head_bytes = 0
    _head_is_here = False
    _told_bytes = 0
    _until = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the browser from the first byte it does not take: no second event is kept behind an unread one."""
        super().connection_made(transport)
        self._within = READ_WITHIN
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
        transport.set_write_buffer_limits(high=0)
        self._hurry(HEAD_WITHIN)

    def data_received(self, data: bytes) -> None:
        """Some of a request, or of several."""
        if not self._head_is_here:
            self._head_bytes += len(data)  # one long header is told only when it is whole
        super().data_received(data)
        if not self._head_is_here and self._head_bytes > LARGEST_HEAD and not self.transport.is_closing():
            self._refuse(431)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._told_bytes = 0
        self._hurry(HEAD_WITHIN)

    def on_url(self, url: bytes) -> None:
        """Some of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header that is whole."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is here; the content may follow."""
        self._head_is_here = True
        self._hurry(CONTENT_WITHIN)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of the content."""
        self._until += len(body) / SLOWEST
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: now it is our turn."""
        self._head_is_here, self._head_bytes = False, 0
        self._calm()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Something is left over: the patience begins."""
        super().pause_writing()
        self._expect()

    def resume_writing(self) -> None:
        """All was taken."""
        self._forgive()
        super().resume_writing()

    def shutdown(self) -> None:
        """The process stops: those that read get their rest, nobody else holds it up."""
        super().shutdown()
        self._within = READ_WITHIN_AT_STOP
        if self.letting_go is not None:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        self._forgive()
        self._calm()
        super().connection_lost(exc)

    def _count(self, more: int) -> None:
        """Raises ValueError, which makes it a bad request, for a head that is too large."""
        self._told_bytes += more
        if self._told_bytes > LARGEST_HEAD:
            raise ValueError("the head of the request is too large")

    def _hurry(self, within: float) -> None:
        self._calm()
        self._until = self.loop.time() + within
        self.hurrying = self.loop.call_at(self._until, self._look_at_the_time)

    def _look_at_the_time(self) -> None:
        self.hurrying = None
        if self._head_is_here and self.flow.read_paused:  # it is we who do not take it
            self._hurry(CONTENT_WITHIN)
        elif self.loop.time() < self._until:
            self.hurrying = self.loop.call_at(self._until, self._look_at_the_time)
        elif self._head_is_here or self._head_bytes == 0:
            self.transport.abort()
        else:
            self._refuse(408)

    def _calm(self) -> None:
        if self.hurrying is not None:
            self.hurrying.cancel()
            self.hurrying = None

    def _refuse(self, status: int) -> None:
        """An answer to what is no request yet, and the end of the connection."""
        self._calm()
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def _expect(self) -> None:
        self._forgive()
        # Aborting, since closing would first wait for the rest to be read.
        self.letting_go = self.loop.call_later(self._within, self.transport.abort)

    def _forgive(self) -> None:
        if self.letting_go is not None:
            self.letting_go.cancel()
            self.letting_go = None
