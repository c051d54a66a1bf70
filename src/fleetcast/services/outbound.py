"""Requests to addresses that other people chose, without becoming their arm into a private network.

The host is resolved here, every address it has must be public, and the connection goes to the address that was
checked, under the name that was asked for: an answer that changes afterwards changes nothing. Each redirect is a new
address and passes the same door. Proxies of the environment are ignored, because they would resolve again.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx2

from fleetcast.errors import InvalidInput

FIELD = "media"
TOTAL_SECONDS = 30.0
MOST_REDIRECTS = 3
MOST_ADDRESSES = 4
"""Addresses of one host that are tried, in the resolver's order."""
LONGEST_URL = 2_000

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port → the host's addresses as text. Raises OSError when there is none."""

_HOST = re.compile(rb"[0-9A-Za-z._-]+|[0-9A-Fa-f:.]+(%25[0-9A-Za-z]+)?")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NEVER = tuple(
    ipaddress.ip_network(block)
    for block in (
        "100.64.0.0/10",  # carrier-grade NAT
        "168.63.129.16/32",  # a cloud's host agent under a public address
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",
        "2002::/16",  # 6to4: carries any IPv4 address inside
        "3fff::/20",
    )
)
_UNICAST = ipaddress.ip_network("2000::/3")
"""All that is routed of IPv6; what embeds or translates IPv4 (mapped, compatible, NAT64) lies outside."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL gave: the bytes, and the last part of its path as a name."""

    data: bytes
    filename: str


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """The machine's own resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address leads to the open internet and nowhere nearer."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and (ip.scope_id is not None or ip not in _UNICAST):
        return False
    nearer = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_reserved or ip.is_multicast
    return ip.is_global and not nearer and not ip.is_unspecified and not any(ip in block for block in _NEVER)


async def fetch(
    url: str,
    max_bytes: int,
    *,
    resolver: Resolver = system_resolver,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> Fetched:
    """Bring what an https URL holds: at most `max_bytes`, 30 s and three redirects in all.

    Every refusal and every failure is an InvalidInput of the field `media`. `transport` replaces the network.
    """
    try:
        async with (
            asyncio.timeout(TOTAL_SECONDS),
            httpx2.AsyncClient(
                transport=transport, trust_env=False, follow_redirects=False, timeout=TOTAL_SECONDS
            ) as client,
        ):
            target = _parse(url)
            for _ in range(MOST_REDIRECTS + 1):
                answer = await _ask(client, target, max_bytes, resolver)
                if isinstance(answer, Fetched):
                    return answer
                target = _parse(answer)
    except TimeoutError:
        raise _refused(
            f"The server took longer than {TOTAL_SECONDS:g} seconds: try again, or upload the file."
        ) from None
    raise _refused(f"The address redirects more than {MOST_REDIRECTS} times: give the address of the file itself.")


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(FIELD, sentence)


def _parse(url: str) -> httpx2.URL:
    """The parts of an acceptable URL; nothing is resolved yet."""
    if len(url) > LONGEST_URL:
        raise _refused(f"The address is longer than {LONGEST_URL:,} characters.")
    try:
        parsed = httpx2.URL(url.strip())
        host = parsed.host
    except (httpx2.InvalidURL, ValueError):
        raise _refused("This is not an address: give one that begins with https://") from None
    if parsed.scheme != "https":
        raise _refused("Only addresses that begin with https:// are fetched: give one, or upload the file.")
    if parsed.userinfo:
        raise _refused("The address must not contain a user name or password.")
    if not _HOST.fullmatch(parsed.raw_host):
        raise _refused("The address has no proper host: give one such as https://example.com/picture.png")
    if not 0 < (parsed.port or 443) < 65_536:
        raise _refused("The address has a port that does not exist.")
    last = host.rstrip(".").rsplit(".", 1)[-1].lower()
    if ":" not in host and (last.isdigit() or last.startswith("0x")) and not _is_plain_ipv4(host):
        # 2130706433, 0x7f.1, 127.1: resolvers read them as addresses, people never write them
        raise _refused("The host is a number: give the name of the server.")
    return parsed


def _is_plain_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


async def _checked_addresses(url: httpx2.URL, resolver: Resolver) -> list[str]:
    try:
        ipaddress.ip_address(url.host)
        addresses: Sequence[str] = [url.host]
    except ValueError:
        try:
            addresses = await resolver(url.raw_host.decode("ascii"), url.port or 443)
        except (OSError, UnicodeError):
            addresses = []
    if not addresses:
        raise _refused(f"There is no server named {url.host[:100]}: correct the address.")
    if not all(is_public(address) for address in addresses):
        # one bad address condemns the host, else trying again would find the gap
        raise _refused("The address leads into a private or reserved network, from where nothing is fetched.")
    return list(addresses)[:MOST_ADDRESSES]


async def _ask(client: httpx2.AsyncClient, url: httpx2.URL, max_bytes: int, resolver: Resolver) -> Fetched | str:
    """One request: the file, or the address it redirects to."""
    for address in await _checked_addresses(url, resolver):
        request = client.build_request(
            "GET",
            url.copy_with(host=address, fragment=None),
            headers={
                "Host": url.netloc.decode("ascii"),
                "User-Agent": "fleetcast",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
            },
            extensions={"sni_hostname": url.raw_host.decode("ascii"), "timeout": client.timeout.as_dict()},
        )
        try:
            response = await client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            continue
        except (httpx2.HTTPError, OSError, ValueError):
            raise _refused("The server broke off: try again, or upload the file.") from None
        try:
            return await _read(response, url, max_bytes)
        except (httpx2.HTTPError, httpx2.StreamError):
            raise _refused("The server broke off: try again, or upload the file.") from None
        finally:
            await response.aclose()
    raise _refused(f"No secure connection to {url.host[:100]} is possible: correct the address, or upload the file.")


async def _read(response: httpx2.Response, url: httpx2.URL, max_bytes: int) -> Fetched | str:
    if response.status_code in _REDIRECTS and "location" in response.headers:
        try:
            return str(url.join(response.headers["location"]))
        except (httpx2.InvalidURL, ValueError):
            raise _refused("The server redirects to something that is no address.") from None
    if response.status_code != 200:
        raise _refused(f"The server answered {response.status_code} instead of the file: correct the address.")
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        # asked for plain bytes; what unfolds on arrival could be any size
        raise _refused("The server sends the file compressed although it was asked not to: upload the file.")
    too_large = _refused(
        f"The file has more than {max_bytes / 2**20:g} MB, the most that can be sent: make it smaller."
    )
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > max_bytes:
        raise too_large
    data = bytearray()
    async for chunk in response.aiter_raw(65_536):
        data += chunk
        if len(data) > max_bytes:
            raise too_large
    return Fetched(bytes(data), url.path.rsplit("/", 1)[-1])
