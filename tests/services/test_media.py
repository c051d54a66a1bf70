"""Media from files, data URLs and addresses: stored once, and never fetched from where it must not be."""

import asyncio
import base64
import gzip
import io
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.media import examine
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services import media, outbound
from fleetcast.store import media as stored_media

PUBLIC = "93.184.216.34"
OTHER_PUBLIC = "2606:2800:220:1::1"
LIMIT = 16 * 1024 * 1024


def png(colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


class Names:
    """A resolver of our own: host → addresses, or a list of answers given one after the other. Counts its questions."""

    def __init__(self, **hosts: Sequence[str] | list[list[str]]) -> None:
        self.hosts = {name.replace("_", "."): answers for name, answers in hosts.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.hosts.get(host, [])
        if answers and isinstance(answers[0], list):
            turn = min(self.asked.count(host), len(answers)) - 1
            return list(answers[turn])
        return [str(address) for address in answers]


class Net(httpx2.AsyncBaseTransport):
    """The network's edge: records each request and answers by a function."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.requests: list[httpx2.Request] = []
        self._answer = answer

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self._answer(request)


class Body(httpx2.AsyncByteStream):
    """A body that arrives in pieces, as from a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 1_000):
            yield self._data[start : start + 1_000]


def serving(data: bytes, **headers: str) -> Net:
    return Net(
        lambda _: httpx2.Response(200, stream=Body(data), headers={k.replace("_", "-"): v for k, v in headers.items()})
    )


def unreachable() -> Net:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise AssertionError(f"asked {request.url}")

    return Net(answer)


async def refused(url: str, names: Names | None = None, net: Net | None = None, limit: int = LIMIT) -> str:
    with pytest.raises(InvalidInput) as refusal:
        await outbound.fetch(url, limit, resolver=names or Names(), transport=net or unreachable())
    assert refusal.value.field == "media"
    return refusal.value.problem


# --- storing ---------------------------------------------------------------------------------------------------------


async def test_the_same_bytes_are_stored_once_however_they_come(
    runtime: Runtime, workspace: WorkspaceId, tmp_path: Path
) -> None:
    (tmp_path / "offer.png").write_bytes(png())
    first = await media.from_file(runtime, workspace, tmp_path / "offer.png")
    assert (first.mime, first.filename, first.size, first.width, first.height) == (
        "image/png",
        "offer.png",
        len(png()),
        4,
        2,
    )
    url = f"data:image/jpeg;base64,{base64.b64encode(png()).decode()}"
    assert await media.from_data_url(runtime, workspace, url) == first
    names = Names(example_com=[PUBLIC])
    fetched = await media.from_url(
        runtime, workspace, "https://example.com/other.png", resolver=names, transport=serving(png())
    )
    assert fetched == first
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM media") == 1
        held = await stored_media.get(connection, workspace, first.sha256)
    assert held is not None
    assert (held.data, held.sha256, held.filename) == (png(), first.sha256, "offer.png")


async def test_twenty_uploads_of_one_picture_at_once_make_one_row(runtime: Runtime, workspace: WorkspaceId) -> None:
    results = await asyncio.gather(*(media.from_bytes(runtime, workspace, png(), f"{n}.png") for n in range(20)))
    assert len(set(results)) == 1
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM media") == 1


async def test_a_second_upload_waits_for_the_first_and_finds_it(runtime: Runtime, workspace: WorkspaceId) -> None:
    medium = examine(png(), "first.png", LIMIT)
    async with (
        asyncio.TaskGroup() as tasks,
        runtime.db.connection() as watcher,
        runtime.db.transaction() as connection,
    ):
        first = await stored_media.put(connection, workspace, medium)
        second = tasks.create_task(media.from_bytes(runtime, workspace, png(), "second.png"))
        async with asyncio.timeout(20):
            while not await watcher.fetchval("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"):
                pass
    assert second.result() == first


async def test_a_medium_belongs_to_its_workspace(runtime: Runtime, workspace: WorkspaceId) -> None:
    mine = await media.from_bytes(runtime, workspace, png(), "a.png")
    async with runtime.db.connection() as connection:
        other = WorkspaceId(await connection.fetchval("INSERT INTO workspaces (name) VALUES ('other') RETURNING id"))
        assert await stored_media.get(connection, other, mine.sha256) is None
        assert await stored_media.find(connection, other, mine.sha256) is None
    theirs = await media.from_bytes(runtime, other, png(), "b.png")
    assert (mine.filename, theirs.filename) == ("a.png", "b.png")


async def test_a_refused_medium_leaves_nothing_behind(runtime: Runtime, workspace: WorkspaceId, tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"<html>")
    os.mkfifo(tmp_path / "pipe")
    sparse = tmp_path / "huge.png"
    with sparse.open("wb") as file:
        file.truncate(10 * 2**30)
    for name in ("page.png", "pipe", "huge.png", "missing.png", "", "a\0b"):
        with pytest.raises(InvalidInput) as refusal:
            await media.from_file(runtime, workspace, tmp_path / name)
        assert refusal.value.field == "media"
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM media") == 0


async def test_s17_the_name_in_an_address_is_only_a_label(runtime: Runtime, workspace: WorkspaceId) -> None:
    stored = await media.from_url(
        runtime,
        workspace,
        "https://example.com/a/..%2f..%2fetc%2fpasswd%00.png?x=/y",
        resolver=Names(example_com=[PUBLIC]),
        transport=serving(png()),
    )
    assert stored.filename == "passwd.png"


# --- fetching --------------------------------------------------------------------------------------------------------


async def test_the_connection_goes_to_the_checked_address_under_the_name_that_was_asked_for() -> None:
    names, net = Names(example_com=[PUBLIC]), serving(png())
    fetched = await outbound.fetch("https://example.com:8443/p/a.png?q=1#f", LIMIT, resolver=names, transport=net)
    assert (fetched.data, fetched.filename) == (png(), "a.png")
    (request,) = net.requests
    assert str(request.url) == f"https://{PUBLIC}:8443/p/a.png?q=1"
    assert request.headers["host"] == "example.com:8443"
    assert request.extensions["sni_hostname"] == "example.com"
    assert request.headers["accept-encoding"] == "identity"
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers


async def test_a_second_address_is_tried_when_the_first_does_not_answer() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == OTHER_PUBLIC:
            raise httpx2.ConnectError("no route")
        return httpx2.Response(200, stream=Body(png()))

    net = Net(answer)
    fetched = await outbound.fetch(
        "https://example.com/a", LIMIT, resolver=Names(example_com=[OTHER_PUBLIC, PUBLIC]), transport=net
    )
    assert fetched.data == png()
    assert [request.url.host for request in net.requests] == [OTHER_PUBLIC, PUBLIC]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:6379",
        "http://169.254.169.254/",
        "http://[::1]",
        "http://[::ffff:127.0.0.1]",
        "http://2130706433",
        "http://0/",
        "http://user@internal",
        "http://example.com/a.png",
        "file:///etc/passwd",
        "gopher://example.com/",
        "unix:/run/postgresql.sock",
        "ftp://example.com/a.png",
        "//example.com/a.png",
        "example.com/a.png",
        "javascript:alert(1)",
        "https:///a.png",
        "https://",
        "",
        "https://user@example.com/a.png",
        "https://user:secret@example.com/a.png",
        "https://example.com\\@evil.example/a.png",
        "https://2130706433/",
        "https://0/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/" + "a" * 3_000,
        "https://[::1/",
    ],
)
async def test_s11_odd_and_foreign_addresses_are_refused_before_anything_is_resolved(url: str) -> None:
    names = Names(example_com=[PUBLIC], user_internal=[PUBLIC])
    problem = await refused(url, names)
    assert names.asked == []
    assert "secret" not in problem


INSIDE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "168.63.129.16", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b:1::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1",
    "fd00:ec2::254", "ff02::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1",
    "100::1", "5f00::1", "nonsense", "",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
async def test_s12_a_host_with_any_address_inside_is_refused(address: str) -> None:
    assert not outbound.is_public(address)
    for answer in ([address], [PUBLIC, address]):
        problem = await refused("https://example.com/a.png", Names(example_com=answer))
        assert "private or reserved network" in problem
        assert address in ("", "::") or address not in problem


@pytest.mark.parametrize("address", [a for a in INSIDE if a not in ("nonsense", "", "fe80::1%eth0")])
async def test_s11_an_address_inside_is_refused_when_written_out(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert "private or reserved" in await refused(f"https://{host}/a.png")


@pytest.mark.parametrize("address", [PUBLIC, OTHER_PUBLIC, "8.8.8.8", "2a00:1450:4001::1"])
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert outbound.is_public(address)


async def test_s12_an_answer_that_changes_after_the_check_does_not_matter() -> None:
    names, net = Names(example_com=[[PUBLIC], ["127.0.0.1"]]), serving(png())
    assert (await outbound.fetch("https://example.com/a.png", LIMIT, resolver=names, transport=net)).data == png()
    assert names.asked == ["example.com"]
    assert [request.url.host for request in net.requests] == [PUBLIC]


@pytest.mark.parametrize(
    "target",
    [
        "https://127.0.0.1/a.png",
        "http://127.0.0.1/a.png",
        "http://example.com/a.png",
        "//169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/",
        "https://inside.example/a.png",
        "file:///etc/passwd",
        "https://user:p@example.com/",
        "https://[",
    ],
)
async def test_s12_a_redirect_to_where_it_may_not_go_is_refused(target: str) -> None:
    names = Names(example_com=[PUBLIC], inside_example=["10.0.0.1"])
    net = Net(lambda _: httpx2.Response(302, headers={"location": target}))
    await refused("https://example.com/a.png", names, net)
    assert len(net.requests) == 1


async def test_s12_a_host_that_turns_inside_between_two_hops_is_refused() -> None:
    names = Names(example_com=[[PUBLIC], ["127.0.0.1"]])
    net = Net(lambda _: httpx2.Response(302, headers={"location": "/again.png"}))
    await refused("https://example.com/a.png", names, net)
    assert names.asked == ["example.com", "example.com"]
    assert len(net.requests) == 1


async def test_s12_three_redirects_are_followed_and_the_fourth_is_not() -> None:
    def hops(count: int) -> Net:
        def answer(request: httpx2.Request) -> httpx2.Response:
            step = int(request.url.path.strip("/"))
            if step == count:
                return httpx2.Response(200, stream=Body(png()))
            return httpx2.Response(307, headers={"location": f"https://h{step}.example/{step + 1}"})

        return Net(answer)

    names = Names(h0_example=[PUBLIC], h1_example=[OTHER_PUBLIC], h2_example=[PUBLIC], h3_example=[PUBLIC])
    net = hops(3)
    assert (await outbound.fetch("https://h0.example/0", LIMIT, resolver=names, transport=net)).data == png()
    assert [request.headers["host"] for request in net.requests] == [f"h{n}.example" for n in (0, 0, 1, 2)]
    assert "more than 3 times" in await refused("https://h0.example/0", names, hops(4))


class Endless(httpx2.AsyncByteStream):
    """A body without an end; counts what was taken of it."""

    def __init__(self, pause: asyncio.Event | None = None) -> None:
        self.taken = 0
        self.closed = False
        self._pause = pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._pause is not None:
                await self._pause.wait()
            self.taken += 65_536
            yield b"\0" * 65_536

    async def aclose(self) -> None:
        self.closed = True


async def test_s15_an_endless_body_is_cut_at_the_limit() -> None:
    body = Endless()
    net = Net(lambda _: httpx2.Response(200, stream=body))
    problem = await refused("https://example.com/a.png", Names(example_com=[PUBLIC]), net, 1_000_000)
    assert "make it smaller" in problem
    assert body.taken <= 1_000_000 + 2 * 65_536
    assert body.closed


async def test_s15_a_length_that_is_declared_too_large_is_refused_unread() -> None:
    body = Endless()
    net = Net(lambda _: httpx2.Response(200, stream=body, headers={"content-length": "10000000000"}))
    await refused("https://example.com/a.png", Names(example_com=[PUBLIC]), net)
    assert body.taken == 0


async def test_s15_a_wrong_length_does_not_lift_the_limit() -> None:
    body = Endless()
    net = Net(lambda _: httpx2.Response(200, stream=body, headers={"content-length": "10"}))
    await refused("https://example.com/a.png", Names(example_com=[PUBLIC]), net, 1_000_000)
    assert body.taken <= 1_000_000 + 2 * 65_536


async def test_s15_a_compressed_answer_is_refused_and_never_unfolded() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    problem = await refused(
        "https://example.com/a", Names(example_com=[PUBLIC]), serving(bomb, content_encoding="gzip")
    )
    assert "compressed" in problem


async def test_s15_a_server_that_stalls_is_left_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.05)
    body = Endless(asyncio.Event())
    net = Net(lambda _: httpx2.Response(200, stream=body))
    assert "took longer" in await refused("https://example.com/a.png", Names(example_com=[PUBLIC]), net)
    assert body.closed


async def test_s15_a_resolver_that_stalls_counts_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.05)

    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(InvalidInput, match="took longer"):
        await outbound.fetch("https://example.com/a.png", LIMIT, resolver=never, transport=unreachable())


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 429, 500, 503, 302])
async def test_an_answer_that_is_no_file_is_refused_by_its_number(status: int) -> None:
    net = Net(lambda _: httpx2.Response(status, content=b"" if status in (204, 304) else png()))
    assert str(status) in await refused("https://example.com/a.png", Names(example_com=[PUBLIC]), net)


async def test_a_host_that_does_not_exist_or_answer_is_refused_in_words() -> None:
    assert "no server named gone.example" in await refused("https://gone.example/a.png")

    def answer(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("certificate verify failed")

    assert "No secure connection" in await refused("https://example.com/", Names(example_com=[PUBLIC]), Net(answer))


async def test_the_machines_own_resolver_is_behind_the_same_door() -> None:
    with pytest.raises(InvalidInput, match="private or reserved"):
        await outbound.fetch("https://localhost:1/a.png", LIMIT, transport=unreachable())


async def test_s12_a_proxy_that_the_environment_names_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would reach for addresses from where it stands, which is inside."""
    asked: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as proxy:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        # A closed port of this machine stands for a server outside, so that the test asks nobody there.
        monkeypatch.setattr(outbound, "is_public", lambda address: address == "127.0.0.1")
        with pytest.raises(InvalidInput, match="No secure connection"):
            await outbound.fetch("https://example.com:1/a.png", LIMIT, resolver=Names(example_com=["127.0.0.1"]))
    assert asked == []
