"""Proxies of linked devices: what is taken, what is shown, and that the password is kept from everybody."""

import pytest

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.device_proxy import checked, set_proxy, shown_proxy
from fleetcast.services.devices import add_device
from fleetcast.services.linked_sessions import SessionAccount
from fleetcast.store import identity

SECRET = "socks5://agent:a-secret@proxy.example.org:1080"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (" socks5://proxy.example.org:1080/ ", "socks5://proxy.example.org:1080"),
        (SECRET, "socks5://agent:***@proxy.example.org:1080"),
        ("http://agent@[2001:db8::1]:3128", "http://agent@[2001:db8::1]:3128"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert checked(address) == (address.strip(), shown)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("proxy.example.org:1080", "no address|http, https"),
        ("ftp://proxy.example.org:21", "http, https and socks5"),
        ("http://proxy.example.org", "with its port"),
        ("http://proxy.example.org:99999", "with its port"),
        ("http://a-secret@proxy.example.org:80/path", "nothing may follow"),
        ("http://a b@proxy.example.org:80", "no address"),
        (f"http://{'a' * 600}:80", "no address"),
    ],
)
def test_what_is_no_proxy_is_refused_without_repeating_it(address: str, what: str) -> None:
    with pytest.raises(InvalidInput, match=what) as caught:
        checked(address)
    assert caught.value.field == "proxy"
    assert "a-secret" not in str(caught.value)


async def test_the_address_reaches_only_who_opens_the_session(runtime: Runtime, workspace: WorkspaceId) -> None:
    device = await add_device(runtime, workspace, "shop", transport="linked")
    assert await shown_proxy(runtime, device.id) is None
    assert await set_proxy(runtime, workspace, device.id, SECRET, actor="ann") == checked(SECRET)[1]
    async with runtime.db.transaction() as connection:
        await identity.note_node(connection, "north", "north")
    account = SessionAccount(runtime, "north")
    assert (await account.admit(device.id, has_file=False)).proxy == SECRET
    assert (await account.link(device.id)).proxy == SECRET
    async with runtime.db.connection() as connection:
        stored = await connection.fetchrow("SELECT shown, address FROM device_proxies")
        audited = await connection.fetchval("SELECT after::text FROM audit WHERE action = 'device.proxy'")
    assert stored is not None
    assert b"a-secret" not in stored["address"]
    assert "a-secret" not in audited
    assert await set_proxy(runtime, workspace, device.id, " ", actor="ann") is None
    assert (await account.admit(device.id, has_file=False)).proxy is None


async def test_only_linked_devices_have_one(runtime: Runtime, workspace: WorkspaceId) -> None:
    device = await add_device(runtime, workspace, "simulated")
    with pytest.raises(Conflict, match="not a linked device"):
        await set_proxy(runtime, workspace, device.id, SECRET, actor="ann")
