"""The check of a Redis or Valkey of one's own."""

import asyncio

import pytest

from fleetcast.errors import ConfigurationError, Unavailable
from fleetcast.queue import client
from fleetcast.queue.client import check_server


async def test_the_version_is_said(redis_url: str) -> None:
    assert (await check_server(redis_url)).startswith("9.")


async def test_a_server_too_old_is_refused_with_both_versions(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MINIMUM_VERSION", 99)
    with pytest.raises(ConfigurationError, match=r"is version 9\..*needs 99 or newer"):
        await check_server(redis_url)


async def test_a_server_that_does_not_know_our_protocol_is_too_old() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        with pytest.raises(ConfigurationError, match="is too old; Fleetcast needs 6 or newer"):
            await check_server(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_a_database_that_the_server_does_not_have_is_a_wrong_setting(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match="refuses what REDIS_URL asks for"):
        await check_server(f"{redis_url}?db=999")


async def test_a_host_that_nobody_knows_is_told_from_a_server_that_is_away() -> None:
    with pytest.raises(Unavailable, match="no such host is known"):
        await check_server("redis://:s3cret@nowhere.invalid")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 does not answer"):
        await check_server("redis://:s3cret@127.0.0.1:1")
