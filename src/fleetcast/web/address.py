"""Where the dashboard listens; separate from the application because `fleetcast up` asks it without loading one."""

import errno
import socket

from fleetcast.errors import ConfigurationError
from fleetcast.settings import Settings


def free_port(settings: Settings) -> int:
    """The port on which the dashboard can listen: the settings', or for 0 one that is free now.

    Raises ConfigurationError, in one sentence, when it cannot listen on its address.
    """
    with listen(settings.host, settings.port) as listener:
        port: int = listener.getsockname()[1]
        return port


def listen(host: str, port: int) -> socket.socket:
    """Bind now, so that a port in use is one sentence and not a log line of the server.

    The protocol is named because asyncio asks for it before it lets small packets go at once (`_set_nodelay` in
    asyncio.base_events): without it every answer on a connection that is kept open is 40 ms late.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
        found.setblocking(False)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"Port {port} on {host} is in use: set PORT to a free one, or stop the program that has it."
            ) from None
        if error.errno == errno.EACCES:
            raise ConfigurationError(
                f"Port {port} needs rights this user does not have: set PORT to 1024 or more."
            ) from None
        raise ConfigurationError(
            f"Cannot listen on {host}: set FLEETCAST_HOST to an address of this machine ({error.strerror or error})."
        ) from None
    return found
