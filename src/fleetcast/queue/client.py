"""The connection to Redis or Valkey and its check at start."""

import socket
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from fleetcast.errors import ConfigurationError, Unavailable
from fleetcast.queue.keys import Keys

Client = redis.Redis

ANSWER_SECONDS = 5.0
"""Longer than any blocking read here asks the server to wait."""
MINIMUM_VERSION = 6
"""We speak RESP3, which came with Redis 6."""


def server_name(url: str) -> str:
    """Where a URL points, for people: never user or password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


def connect(url: str) -> Client:
    """A client that connects on first use and takes `ANSWER_SECONDS` of silence for the loss of its connection."""
    try:
        return redis.from_url(
            url, protocol=3, socket_connect_timeout=5, socket_timeout=ANSWER_SECONDS, health_check_interval=15
        )
    except ValueError as error:
        raise ConfigurationError(f"REDIS_URL cannot be read: {error}.") from None


async def check_server(url: str) -> str:
    """Try the server: reachable, allowed, able to do what hints need. Returns its version for people."""
    name = server_name(url)
    client = connect(url)
    try:
        info = await client.info("server")
        version = str(info.get("valkey_version") or info["redis_version"])
        if int(str(info["redis_version"]).split(".", 1)[0]) < MINIMUM_VERSION:
            raise ConfigurationError(
                f"Redis at {name} is version {version}; Fleetcast needs {MINIMUM_VERSION} or newer."
            )
        await client.xlen(Keys().shard(0))
        return version
    except (RedisError, OSError, TimeoutError) as error:
        # What went wrong while connecting comes wrapped as a lost connection.
        wrong = error.__cause__ or error.__context__ or error
        if AuthenticationError in (type(error), type(wrong)):
            raise ConfigurationError(f"Redis at {name} refused the user or password: correct REDIS_URL.") from None
        if "NOAUTH" in str(error) or "NOPERM" in str(error):
            raise ConfigurationError(f"Redis at {name} wants a user or password: add it to REDIS_URL.") from None
        if "HELLO" in str(error):  # with which RESP3 begins
            raise ConfigurationError(
                f"Redis at {name} is too old; Fleetcast needs {MINIMUM_VERSION} or newer."
            ) from None
        if isinstance(error, ResponseError) or isinstance(wrong, ResponseError):
            raise ConfigurationError(f"Redis at {name} refuses what REDIS_URL asks for: {error}.") from None
        if isinstance(wrong, socket.gaierror):
            raise Unavailable(f"Redis at {name}: no such host is known. Correct REDIS_URL, or wait.") from error
        raise Unavailable(f"Redis at {name} does not answer ({type(error).__name__}).") from error
    finally:
        await client.aclose()
