"""Connections of the dashboard and the API: whoever does not read is let go, and whoever does not come to an end.

Uvicorn stops producing for a browser that does not take what it is sent, and then waits for it without an end: neither
the lifetime of a stream nor a stop of the process reaches an answer that waits there. In the same way it waits for the
rest of a request, however long and slow that is, and takes and drops what still comes of one that was answered already.
Separate from the application, which never sees a connection.
"""

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UNREAD_BYTES = 64 * 1024
"""What the kernel may keep for one browser (it allows twice as much). By itself it took three megabytes, minutes of
events, before anything showed that nobody reads."""
READ_WITHIN = 30.0
"""Seconds in which a browser has to take what the kernel could not hold for it: a page or one event."""
READ_WITHIN_AT_STOP = 1.0
"""The same once the process stops."""
ASK_WITHIN = 20.0
"""Seconds from the first byte of a request, or from a connection without one, to the end of its head."""
HEAD_BYTES = 64 * 1024
"""What a head may have: address, cookies and all."""
CONTENT_WITHIN = 30.0
"""Seconds from the head to the end of the content, and one more for each `SLOWEST` bytes that came."""
SLOWEST = 1_000
LINGER_SECONDS = 5.0
"""For the rest of a content that was answered already: ended at once, many a client would never see its answer."""

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class ReadingConnection(HttpToolsProtocol):
    """Uvicorn's connection with a limit to its patience."""

    letting_go: asyncio.TimerHandle | None = None
    """What ends the connection, while something lies unread."""
    asking: asyncio.TimerHandle | None = None
    """What ends the connection, while a request's head is not complete."""
    telling: asyncio.TimerHandle | None = None
    """What ends the connection, while a request's content is not complete."""
    _within = READ_WITHIN
    _head = 0
    _begun = False
    _until = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the browser from the first byte it does not take: no second event is kept behind an unread one."""
        super().connection_made(transport)
        self._within = READ_WITHIN
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
        transport.set_write_buffer_limits(high=0)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """A head that grows without an end is not kept."""
        self._head += len(data)
        super().data_received(data)
        if self.asking is not None and self._head > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """The first byte of a request; of a further one on the same connection the time begins now."""
        super().on_message_begin()
        self._begun = True
        if self.asking is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """The head is here. Raising answers 400."""
        self._head_is_here()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            raise ValueError("the head of the request is too large")
        super().on_headers_complete()
        self._await_content()

    def on_body(self, body: bytes) -> None:
        """Some of the content: who goes on sending has time for the rest."""
        self._until += len(body) / SLOWEST
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Answered; perhaps before everything was said."""
        super().on_response_complete()
        if self.telling is not None and self.cycle.response_complete:
            self._content_is_here()
            self.telling = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def on_message_complete(self) -> None:
        """The request is whole; now it is our turn."""
        self._content_is_here()
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
        self._head_is_here()
        self._content_is_here()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head = 0
        self.asking = self.loop.call_later(ASK_WITHIN, self._too_slow)

    def _head_is_here(self) -> None:
        self._begun = False
        if self.asking is not None:
            self.asking.cancel()
            self.asking = None

    def _too_slow(self) -> None:
        self.asking = None
        if self._begun:  # who never asked anything is owed no answer
            self.transport.write(_TOO_SLOW)
        self.transport.close()

    def _await_content(self) -> None:
        self._content_is_here()
        self._until = self.loop.time() + CONTENT_WITHIN
        self.telling = self.loop.call_at(self._until, self._look_at_the_time)

    def _content_is_here(self) -> None:
        if self.telling is not None:
            self.telling.cancel()
            self.telling = None

    def _look_at_the_time(self) -> None:
        if self.flow.read_paused:  # it is we who do not take it
            self._await_content()
        elif self.loop.time() < self._until:
            self.telling = self.loop.call_at(self._until, self._look_at_the_time)
        else:
            self.transport.abort()

    def _expect(self) -> None:
        self._forgive()
        # Aborting, since closing would first wait for the rest to be read.
        self.letting_go = self.loop.call_later(self._within, self.transport.abort)

    def _forgive(self) -> None:
        if self.letting_go is not None:
            self.letting_go.cancel()
            self.letting_go = None
