"""Session files of neonize as pairing would have left them, made without it: for fleets of thousands.

A pairing costs seconds, most of them in the client, which makes 812 keys. A file made here has as many as it needs, its
public half is enrolled at the testbed, and the client logs in with it as if it had been paired. How the file looks is
taken from one that neonize made, so that only the contents are ours to know. Test code, as `client_patch` is.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from testbed.whatsapp_web.control import Control, NewDevice
from testbed.whatsapp_web.jids import Jid
from testbed.whatsapp_web.keys import Seed

ONE_TIME_KEYS: Final = 30
"""Enough that the client makes no more at its login."""
_KEPT: Final = frozenset({"whatsmeow_version"})


class SessionFiles:
    """Makes files like one that neonize made and that is open in no process."""

    def __init__(self, pattern: Path, *, seed: bytes) -> None:
        with closing(sqlite3.connect(f"file:{pattern}?mode=ro", uri=True)) as paired:
            self._empty = sqlite3.connect(":memory:", check_same_thread=False)
            paired.backup(self._empty)
        tables = self._empty.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table.startswith("whatsmeow_") and table not in _KEPT:
                self._empty.execute(f'DELETE FROM "{table}"')  # a name out of the schema
        self._empty.commit()
        self._empty.execute("VACUUM")
        self._seed = Seed(seed)

    def close(self) -> None:
        """Forget the pattern."""
        self._empty.close()

    async def make(self, control: Control, number: str, path: Path) -> str:
        """A file at `path` for a new companion of this phone; the companion's name."""
        keys = Seed(self._seed.bytes(number, str(path)))
        noise, identity, signed = keys.pair("noise"), keys.pair("identity"), keys.pair("signed")
        one_time = {mark: keys.pair("one-time", mark) for mark in range(1, ONE_TIME_KEYS + 1)}
        registration = int.from_bytes(keys.bytes("registration")[:4], "big")
        signature = identity.sign(signed.typed)
        enrolled = await control.enrol(
            number,
            NewDevice(
                noise=noise.public,
                identity=identity.public,
                registration=registration,
                signed=(1, signed.public, signature),
                one_time=tuple((mark, key.public) for mark, key in one_time.items()),
            ),
        )
        jid = str(Jid(number, device=int(enrolled.companion.partition(":")[2])))
        device: dict[str, str | int | bytes] = {
            "jid": jid,
            "lid": enrolled.lid,
            "registration_id": registration,
            "noise_key": noise.secret,
            "identity_key": identity.secret,
            "signed_pre_key": signed.secret,
            "signed_pre_key_id": 1,
            "signed_pre_key_sig": signature,
            "adv_key": keys.bytes("adv"),
            "adv_details": enrolled.signed.details,
            "adv_account_sig": enrolled.signed.signature,
            "adv_account_sig_key": enrolled.signed.account,
            "adv_device_sig": enrolled.signed.countersigned(identity),
            "platform": "android",
        }
        self._write(path, jid, device, {mark: key.secret for mark, key in one_time.items()})
        return enrolled.companion

    def _write(self, path: Path, jid: str, device: dict[str, str | int | bytes], one_time: dict[int, bytes]) -> None:
        path.touch(mode=0o600)
        with closing(sqlite3.connect(path)) as file:
            self._empty.backup(file)
            columns, places = ", ".join(device), ", ".join("?" * len(device))
            file.execute(f"INSERT INTO whatsmeow_device ({columns}) VALUES ({places})", tuple(device.values()))
            file.executemany(
                "INSERT INTO whatsmeow_pre_keys (jid, key_id, key, uploaded) VALUES (?, ?, ?, true)",
                [(jid, mark, secret) for mark, secret in one_time.items()],
            )
            file.commit()
