"""Connections of the dashboard and the API: whoever does not read is let go, and whoever sends what nobody reads.

Uvicorn stops producing for a browser that does not take what it is sent, and then waits for it without an end: neither
the lifetime of a stream nor a stop of the process reaches an answer that waits there. The content of a request that
was answered before it had come, because it is too large or not allowed, it would take and drop for ever. Separate from
the application, which never sees a connection.
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
LINGER_SECONDS = 5.0
"""For the rest of a content that was answered already: ended at once, many a client would never see its answer."""


class ReadingConnection(HttpToolsProtocol):
    """Uvicorn's connection with a limit to its patience."""

    letting_go: asyncio.TimerHandle | None = None
    """What ends the connection, while something lies unread."""
    lingering: asyncio.TimerHandle | None = None
    """What ends the connection, while the rest of an answered request still comes."""
    _within = READ_WITHIN

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the browser from the first byte it does not take: no second event is kept behind an unread one."""
        super().connection_made(transport)
        self._within = READ_WITHIN
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
        transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Something is left over: the patience begins."""
        super().pause_writing()
        self._expect()

    def resume_writing(self) -> None:
        """All was taken."""
        self._forgive()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Answered; perhaps before everything was said."""
        super().on_response_complete()
        if self.cycle is not None and self.cycle.response_complete and self.cycle.more_body:
            self.lingering = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def on_message_complete(self) -> None:
        """Everything was said; the connection serves the next request."""
        super().on_message_complete()
        self._linger_no_more()

    def shutdown(self) -> None:
        """The process stops: those that read get their rest, nobody else holds it up."""
        super().shutdown()
        self._within = READ_WITHIN_AT_STOP
        if self.letting_go is not None:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        self._forgive()
        self._linger_no_more()
        super().connection_lost(exc)

    def _linger_no_more(self) -> None:
        if self.lingering is not None:
            self.lingering.cancel()
            self.lingering = None

    def _expect(self) -> None:
        self._forgive()
        # Aborting, since closing would first wait for the rest to be read.
        self.letting_go = self.loop.call_later(self._within, self.transport.abort)

    def _forgive(self) -> None:
        if self.letting_go is not None:
            self.letting_go.cancel()
            self.letting_go = None
