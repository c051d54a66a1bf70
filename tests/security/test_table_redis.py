"""Row 43: whoever can write into Redis can make Fleetcast neither run, nor send, nor stop anything.

What stands in the streams and channels is ids in the form of numbers; all else is dropped and counted, and what can be
read is believed only as far as SQL bears it out.
"""

import array
import ast
import asyncio
import json
import os
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.domain.pacing import WIDEST_WINDOW
from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.queue.client import Client
from fleetcast.queue.hints import Hint, HintReader, HintWriter, pack_hints
from fleetcast.queue.nudges import DISPATCHER, PLANNER, SENDERS, SWEEPER, listening
from fleetcast.runtime import Runtime
from fleetcast.services import pairing
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaigns import CampaignFields, create_campaign
from fleetcast.services.devices import Device, add_device
from fleetcast.services.workspaces import create_workspace
from fleetcast.store.invariants import broken_invariants
from tests.api import tenants
from tests.running import Fleet, running_fleet, until

LARGE = 10 * 1024 * 1024
AN_HOUR = 3_600.0


class Touch:
    """A pickle that leaves a file behind where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


def numbers(*values: int) -> bytes:
    return array.array("q", values).tobytes()


def crafted(folder: Path) -> dict[str, bytes]:
    """What somebody might push into a stream of hints or asks; none of it is one."""
    return {
        "pickle": pickle.dumps(Touch(folder / "pwned")),
        "large JSON": b'{"devices": [' + b"1," * (LARGE // 2) + b"1]}",
        "large numbers": numbers(*([2**62] * (LARGE // 8))),
        "text": b"DROP TABLE leads;",
        "half a number": b"\x01\x02\x03",
        "negative device": numbers(-1, 1, 5, 0),
        "negative count": numbers(1, -1, 5, 0),
        "negative message": numbers(1, 1, -5, 0),
        "more than it has": numbers(1, 40, 5, 0),
        "more than a window": numbers(1, WIDEST_WINDOW + 1, *([7, 0] * (WIDEST_WINDOW + 1))),
        "all bits": b"\xff" * 64,
    }


NUDGES = {
    "pickle": pickle.dumps({"devices": [1]}),
    "not JSON": b"{",
    "deep JSON": b"[" * 200_000,
    "a list": b"[1, 2]",
    "a text for ids": b'{"devices": "123"}',
    "null": b'{"devices": null}',
    "negative": b'{"devices": [-1], "campaigns": [-1]}',
    "beyond 64 bits": b'{"devices": [99999999999999999999], "campaigns": [99999999999999999999]}',
    "infinite": b'{"devices": [1e400], "campaigns": [Infinity]}',
    "fraction": b'{"devices": [1.5], "campaigns": [true]}',
    "nested": b'{"devices": [[1]], "campaigns": [{}]}',
    "large": b'{"devices": [' + b"1," * LARGE + b"1]}",
}


@pytest.fixture
async def fleet(runtime: Runtime, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(runtime, tmp_path) as running:
        yield running


def people(count: int, *, first: int = 0) -> str:
    return "name,phone\n" + "".join(f"Person {n},+6012{first + n:07}\n" for n in range(count))


async def launched(fleet: Fleet, **fields: object) -> CampaignId:
    given: CampaignFields = {"title": "Greetings", "body": "Hello {{ name }}", "schedule": "now"}
    given.update(fields)  # type: ignore[typeddict-item]
    campaign = await create_campaign(fleet.runtime, fleet.workspace.id, given, actor="test")
    await launch_campaign(fleet.runtime, fleet.workspace.id, campaign.id, actor="test")
    return campaign.id


async def dropped(fleet: Fleet) -> Mapping[str, float]:
    """What the processes say they have dropped, by kind."""
    async with fleet.runtime.db.connection() as connection:
        rows = await connection.fetch("SELECT figures FROM processes")
    sums: dict[str, float] = {}
    for row in rows:
        for name, n in row["figures"].items():
            sums[name] = sums.get(name, 0) + n
    return {kind: sums.get(f"dropped:{kind}", 0) for kind in ("hints", "asks", "nudges")} | {
        "claims_refused": sums.get("claims_refused", 0)
    }


async def push(fleet: Fleet, entries: Mapping[str, bytes], *streams: str) -> None:
    for stream in streams:
        for entry in entries.values():
            await fleet.runtime.redis.xadd(stream, {b"b": entry})


def counted(fleet: Fleet, kind: str, least: float) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return (await dropped(fleet))[kind] >= least

    return enough


# -- what is read at all


async def test_s43_a_sender_reads_hints_and_drops_and_counts_the_rest(
    runtime: Runtime, redis_client: Client, tmp_path: Path
) -> None:
    keys = runtime.keys
    entries = crafted(tmp_path)
    reader = HintReader(redis_client, keys)
    reader.own([3])
    for entry in entries.values():
        await redis_client.xadd(keys.shard(3), {b"b": entry})
        await redis_client.xadd(keys.shard(3), {b"b": numbers(9, 1, 8, 7) + entry})
    await redis_client.xadd(keys.shard(3), {b"x": numbers(1, 1, 5, 0)})
    await redis_client.xadd(keys.shard(3), {b"b": pack_hints([Hint(7, [(5, 2), (6, 0)])])})
    found: list[Hint] = []
    while not found:
        found += await reader.read(wait=0.5) or []
    assert found == [Hint(7, [(5, 2), (6, 0)])]
    assert reader.dropped == 2 * len(entries) + 1
    assert not (tmp_path / "pwned").exists()


async def test_s43_a_dispatcher_reads_asks_and_drops_and_counts_the_rest(
    runtime: Runtime, redis_client: Client, tmp_path: Path
) -> None:
    writer = HintWriter(redis_client, runtime.keys)
    await redis_client.xadd(runtime.keys.asks, {b"b": numbers(1, 1)})
    await writer.asks(wait=0.01)
    entries = {
        "pickle": pickle.dumps(Touch(tmp_path / "pwned")),
        "odd": numbers(1, 2, 3),
        "negative": numbers(-4, 3),
        "wide": numbers(4, WIDEST_WINDOW + 1),
        "wider than 32 bits": numbers(4, 2**40),
        "text": b"x" * 13,
    }
    for entry in entries.values():
        await redis_client.xadd(runtime.keys.asks, {b"b": entry})
    await redis_client.xadd(runtime.keys.asks, {b"b": numbers(4, 10)})
    found: dict[int, int] = {}
    while not found:
        found = await writer.asks(wait=0.5)
    assert found == {4: 10}
    assert writer.dropped == len(entries)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", NUDGES)
async def test_s43_what_is_no_nudge_is_dropped_and_counted(runtime: Runtime, redis_client: Client, name: str) -> None:
    async with asyncio.timeout(30), listening(redis_client, runtime.keys, SENDERS) as ears:
        await ears.next(0.1)
        await runtime.redis.publish(runtime.keys.nudge(SENDERS), NUDGES[name])
        await runtime.nudges.devices(5)
        heard = None
        while heard is None:
            heard = await ears.next(1)
        assert heard == {"devices": [5]}
        assert ears.dropped == 1


@pytest.fixture
async def redis_client(runtime: Runtime) -> Client:
    return runtime.redis


def test_s43_nothing_in_the_program_reads_pickles_or_runs_texts() -> None:
    source = Path(__file__).resolve().parents[2] / "src" / "fleetcast"
    found = []
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = {a.name for a in node.names} if isinstance(node, ast.Import) else set()
            imported |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            if imported & {"pickle", "marshal", "shelve", "dill", "yaml", "jsonpickle"}:
                found.append(path.name)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}:
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


# -- what a running fleet makes of it


async def test_s43_crafted_entries_stop_no_loop_and_send_nothing(fleet: Fleet, tmp_path: Path) -> None:
    keys = fleet.runtime.keys
    device = await fleet.device()
    await fleet.leads(device, people(60))
    entries = crafted(tmp_path)
    streams = [keys.shard(n) for n in range(64)]
    await push(fleet, {k: v for k, v in entries.items() if len(v) < LARGE}, *streams, keys.asks)
    await push(fleet, entries, keys.shard(device.id % 64), keys.asks)
    for who in (PLANNER, DISPATCHER, SENDERS, SWEEPER):
        for nudge in NUDGES.values():
            await fleet.runtime.redis.publish(keys.nudge(who), nudge)
    campaign = await launched(fleet)
    await push(fleet, {"unknown": numbers(device.id, 2, 10**15, 10**15, 10**15 + 1, 0)}, keys.shard(device.id % 64))
    await push(fleet, {"strange": numbers(10**15, 1, 5, 0), "wide": numbers(device.id, 2**40)}, *streams, keys.asks)
    await until(lambda: fleet.has_finished(campaign))
    for kind in ("hints", "asks", "nudges"):
        await until(counted(fleet, kind, 3))
    verdict = await fleet.judge()
    assert (verdict.accepted, verdict.holds) == (60, True)
    again = await launched(fleet, title="Once more")
    await until(lambda: fleet.has_finished(again))
    assert (await fleet.judge()).accepted == 120
    assert not (tmp_path / "pwned").exists()
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


async def test_s43_keys_of_another_type_are_got_by_without(fleet: Fleet) -> None:
    keys, redis = fleet.runtime.keys, fleet.runtime.redis
    device = await fleet.device()
    await fleet.leads(device, people(20))
    for key in (keys.asks, *(keys.shard(n) for n in range(64))):
        await redis.delete(key)
        await redis.set(key, b"not a stream")
    campaign = await launched(fleet)
    await until(lambda: fleet.has_finished(campaign))
    assert (await fleet.judge()).accepted == 20


async def test_s43_a_hint_does_not_send_another_tenants_message_nor_in_another_pace(fleet: Fleet) -> None:
    """The other tenant's device rests for an hour, so its second message waits in its window."""
    keys = fleet.runtime.keys
    other = replace(fleet, workspace=await create_workspace(fleet.runtime, "Another shop"))
    theirs = await other.device("Theirs", delay=AN_HOUR)
    await other.leads(theirs, people(3))
    slow = await launched(other)
    await until(lambda: at_least(other, slow, 1))

    async def waiting() -> list[tuple[int, int]]:
        async with fleet.runtime.db.connection() as connection:
            rows = await connection.fetch(
                "SELECT id, shard_id FROM broadcast_messages WHERE campaign_id = $1 AND status = 'queued'", slow
            )
        return [tuple(row) for row in rows]

    await until(lambda: is_filled(waiting))
    queued = await waiting()
    ours = await device_of_shard(fleet, queued[0][1])
    await fleet.leads(ours, people(5, first=500))
    quick = await launched(fleet)
    messages = [message for message, _ in queued]
    lies = {
        "another device": numbers(ours.id, len(messages), *(n for m in messages for n in (m, slow))),
        "another campaign": numbers(theirs.id, len(messages), *(n for m in messages for n in (m, quick))),
        "without a campaign": numbers(ours.id, len(messages), *(n for m in messages for n in (m, 0))),
    }
    for _ in range(3):
        before = (await dropped(fleet))["claims_refused"]
        await push(fleet, lies, keys.shard(queued[0][1]))
        await until(counted(fleet, "claims_refused", before + len(messages)))
    await until(lambda: fleet.has_finished(quick))
    assert await other.count(slow, "sent") == 1
    assert await waiting() == queued
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


async def test_s43_an_ask_does_not_fill_a_window_beyond_its_width(fleet: Fleet) -> None:
    keys = fleet.runtime.keys
    device = await fleet.device(delay=AN_HOUR)
    await fleet.leads(device, people(300))
    campaign = await launched(fleet)
    await until(lambda: at_least(fleet, campaign, 1))
    before = (await dropped(fleet))["asks"]
    asks = {str(room): numbers(device.id, room) for room in (300, 2**31 - 1, 2**31, 2**62)}
    await push(fleet, asks, keys.asks)
    await push(fleet, {"as wide as allowed": numbers(device.id, WIDEST_WINDOW)}, keys.asks)
    await until(counted(fleet, "asks", before + len(asks)))
    assert 0 < await fleet.count(campaign, "queued") <= 2 * WIDEST_WINDOW


async def at_least(fleet: Fleet, campaign: CampaignId, sent: int) -> bool:
    return await fleet.count(campaign, "sent") >= sent


async def is_filled(waiting: Callable[[], Awaitable[list[tuple[int, int]]]]) -> bool:
    return bool(await waiting())


async def device_of_shard(fleet: Fleet, shard: int) -> Device:
    """A device without a pace in this shard; devices are dealt to the shards in turn."""
    for n in range(64):
        made = await fleet.device(f"Ours {n}")
        if made.id % 64 == shard:
            return made
    raise AssertionError


# -- limits of requests


async def test_s43_wrong_counts_of_requests_stop_nobody(app: FastAPI, runtime: Runtime, workspace: WorkspaceId) -> None:
    key = await tenants.key(runtime, workspace)
    async with tenants.client(app, key=key) as client:

        async def ask() -> httpx2.Response:
            return await client.get("/api/v1/devices")

        assert (await ask()).status_code == 200
        counts = [k async for k in runtime.redis.scan_iter(match=f"{runtime.keys.rate_limits}*")]
        assert counts
        for content in (json.dumps({"a": 1}).encode(), b"-9" * 100, pickle.dumps(Touch(Path("/tmp/never")))):
            for name in counts:
                await runtime.redis.set(name, content)
            assert (await ask()).status_code == 200
        for name in counts:
            await runtime.redis.delete(name)
            await runtime.redis.lpush(name, b"x")
        assert (await ask()).status_code == 200


FORGED = {
    "a code in plain": b'[1, 1, "qr", "2@not,ours"]',
    "pickle": pickle.dumps([1, 1, "qr", "2@not,ours"]),
    "large": b"A" * LARGE,
    "all bits": b"\xff" * 64,
}


@pytest.mark.parametrize("name", FORGED)
async def test_s43_a_forged_code_is_shown_to_nobody(runtime: Runtime, workspace: WorkspaceId, name: str) -> None:
    """Whoever scanned it would link their phone to a stranger."""
    device = await add_device(runtime, workspace, "Counter", pair_first=True)
    await pairing.start_pairing(runtime, workspace, device.id, actor="test")
    await runtime.redis.set(runtime.keys.pairing(device.id), FORGED[name], px=60_000)
    assert (await pairing.look(runtime, workspace, device.id, with_code=True)).code is None
    await runtime.redis.delete(runtime.keys.pairing(device.id))
    await runtime.redis.lpush(runtime.keys.pairing(device.id), b"of another type")
    assert (await pairing.look(runtime, workspace, device.id, with_code=True)).code is None


async def test_s43_a_true_code_counts_for_its_own_device_and_order_alone(
    runtime: Runtime, workspace: WorkspaceId
) -> None:
    first, second = [await add_device(runtime, workspace, name, pair_first=True) for name in ("One", "Two")]
    for device in (first, second):
        await pairing.start_pairing(runtime, workspace, device.id, actor="test")
    await (await pairing.codes(runtime)).publish(first.id, Code(1, CodeKind.QR, "2@abc", 60.0))
    sealed = await runtime.redis.get(runtime.keys.pairing(first.id))
    assert sealed is not None
    await runtime.redis.set(runtime.keys.pairing(second.id), sealed, px=60_000)
    assert (await pairing.look(runtime, workspace, first.id, with_code=True)).code is not None
    assert (await pairing.look(runtime, workspace, second.id, with_code=True)).code is None
    await pairing.start_pairing(runtime, workspace, first.id, actor="test")
    assert (await pairing.look(runtime, workspace, first.id, with_code=True)).code is None
    await runtime.redis.set(runtime.keys.pairing(first.id), sealed)  # for ever
    assert (await pairing.look(runtime, workspace, first.id, with_code=True)).code is None
