"""The password asked for again, of somebody who is signed in: before anything that would let others in for good.

What was proved holds for the password that was looked at; whoever acts on it asks `unchanged` in the transaction that
acts, so that a change in between undoes the proof.
"""

from fleetcast.domain.access import UserId
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import account_log, passwords, tries
from fleetcast.store import users
from fleetcast.store.connection import Connection
from fleetcast.store.users import User


async def proved(runtime: Runtime, user_id: UserId, password: str) -> User:
    """The user, who has given their password again. Raises InvalidInput for a wrong one, TooMany.

    Counted apart from signing in: who only knows the address cannot keep its owner from this.
    """
    async with runtime.db.connection() as connection:
        user = await users.by_id(connection, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    counted = await tries.count(runtime, tries.of_proof(user_id))
    right, _ = await passwords.verify(password, user.password_hash)
    if not right:
        if counted >= tries.FREE:
            async with runtime.db.transaction() as connection:
                await account_log.note(connection, user, "password.blocked", after={"failures": counted})
        raise InvalidInput("password", "this is not your password")
    await tries.forget(runtime, tries.of_proof(user_id))
    return user


async def unchanged(connection: Connection, user: User) -> User:
    """The user as they are now, locked until the transaction ends. Raises Conflict when their password was changed."""
    fresh = await users.by_id(connection, user.id, lock=True)
    if fresh is None or fresh.password_hash != user.password_hash:
        raise Conflict("The password was changed in this moment. Try again with the new one.")
    return fresh
