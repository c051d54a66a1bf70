"""The newest code of each pairing on its way from a device's owner to whoever shows it.

A code lives in Redis for as long as it is valid and nowhere else. It is a secret, and one that somebody else has put in
its place would link a phone to whoever made it: so it is sealed with the installation's key, for its device and order.
"""

import asyncio
import json

import structlog
from redis.exceptions import RedisError

from fleetcast.domain.pairing import Code, CodeKind
from fleetcast.errors import ConfigurationError, Unavailable
from fleetcast.queue.client import Client
from fleetcast.queue.keys import Keys
from fleetcast.sealing import Seal

log = structlog.get_logger()

PATIENCE = 1.0
"""Seconds that somebody waits for Redis: the next look comes as soon."""
LONGEST = 8_000
"""Bytes of a sealed code; WhatsApp's codes have some 250 characters."""


class PairingCodes:
    """The codes of one installation."""

    def __init__(self, client: Client, keys: Keys, seal: Seal) -> None:
        self._client = client
        self._keys = keys
        self._seal = seal

    async def publish(self, device_id: int, code: Code) -> None:
        """Show this code from now on. A Redis that does not answer is logged: the owner publishes again."""
        told = self._seal.close(json.dumps([device_id, code.order, code.kind, code.text]).encode())
        try:
            async with asyncio.timeout(PATIENCE):
                await self._client.set(self._keys.pairing(device_id), told, px=max(1, round(code.valid_for * 1000)))
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("a pairing code was not published", device_id=device_id, error=type(error).__name__)

    async def forget(self, device_id: int) -> None:
        """Show none any more. Where Redis does not answer, the code ends by itself."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._client.delete(self._keys.pairing(device_id))
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("a pairing code was not withdrawn", device_id=device_id, error=type(error).__name__)

    async def newest(self, device_id: int, order: int) -> Code | None:
        """The code of this order that is valid now, if there is one. Raises Unavailable."""
        key = self._keys.pairing(device_id)
        try:
            async with asyncio.timeout(PATIENCE):
                pipe = self._client.pipeline(transaction=False)
                pipe.get(key)
                pipe.pttl(key)
                told, left = await pipe.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis does not answer ({type(error).__name__}), so no code can be shown.") from error
        if not isinstance(told, bytes) or not isinstance(left, int) or left <= 0 or len(told) > LONGEST:
            return None
        try:
            meant_for, of, kind, text = json.loads(self._seal.open(told))
        except ConfigurationError:  # whoever wrote it had no key of ours
            return None
        return Code(order, CodeKind(kind), text, left / 1000) if (meant_for, of) == (device_id, order) else None
