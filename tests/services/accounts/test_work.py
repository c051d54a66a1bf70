"""The work of a sign-in, with the real hashing: as much for nobody as for somebody."""

from typing import Any

import pytest

from fleetcast.errors import Unauthenticated
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import passwords, sign_in
from tests.services.accounts.stage import HERE, WRONG, Account, is_open


@pytest.fixture(autouse=True)
def quick() -> None:
    """Here the real hashing is asked."""


async def refused(runtime: Runtime, email: str, password: str = WRONG) -> None:
    with pytest.raises(Unauthenticated):
        await sign_in.sign_in(runtime, email, password, HERE)


async def test_s33_the_same_work_is_done_whether_there_is_an_account_or_not(
    runtime: Runtime, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    real = passwords._argon2()

    class Watched:
        """The same hashing, and what was hashed against."""

        def verify_and_update(self, password: bytes, stored: str) -> tuple[bool, str | None]:
            looked_at.append(stored)
            return real.verify_and_update(password, stored)

        def hash(self, password: bytes) -> str:
            raise AssertionError("nothing is hashed besides")

    monkeypatch.setattr(passwords, "_argon2", Watched)
    await refused(runtime, ann.email)
    await refused(runtime, "nobody@example.org")
    await refused(runtime, ann.email, "x" * 5_000)
    assert [stored.rsplit("$", 2)[0] for stored in looked_at] == ["$argon2id$v=19$m=65536,t=3,p=4"] * 3
    assert {len(stored) for stored in looked_at} == {len(looked_at[0])}
    async with runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT password_hash FROM users") == looked_at[0]


async def test_an_outdated_hash_is_renewed_at_sign_in_and_ends_no_session(runtime: Runtime, ann: Account) -> None:
    from pwdlib.hashers.argon2 import Argon2Hasher

    before = await ann.sign_in()
    outdated = Argon2Hasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(ann.password)
    async with runtime.db.connection() as connection:
        changed: Any = await connection.fetchval(
            "UPDATE users SET password_hash = $1 RETURNING password_changed_at", outdated
        )
        await ann.sign_in()
        row = await connection.fetchrow("SELECT password_hash, password_changed_at FROM users")
    assert row is not None
    assert "m=65536" in row["password_hash"]
    assert row["password_changed_at"] == changed
    assert await is_open(runtime, before)
