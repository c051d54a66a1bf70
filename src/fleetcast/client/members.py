"""Members of the workspace, and invitations to become one."""

from dataclasses import dataclass
from datetime import datetime

from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Somebody in the workspace."""

    user_id: int
    email: str
    name: str
    role: str
    """`owner`, `operator` or `viewer`."""
    since: datetime
    seen_at: datetime | None
    second_factor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """An offer to become a member, which can still be accepted."""

    id: int
    email: str
    role: str
    invited_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeInvitation:
    """A new invitation and its link, which is shown this once."""

    invitation: Invitation
    link: str

    def __repr__(self) -> str:
        return f"MadeInvitation(invitation={self.invitation!r}, link='…')"


class Members:
    """`fleet.members`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(self, *, limit: int = PAGE, after: str | None = None) -> Pages[Member]:
        """All members of the workspace, by number."""
        return Pages(self._exchange, "members", Member, {"limit": limit}, after=after)

    async def show(self, user_id: int) -> Member:
        """One member."""
        return read(Member, await self._exchange.ask("GET", "members/{user_id}", user_id=user_id))

    async def change(self, user_id: int, role: str, *, revoke_keys: bool = False) -> Member:
        """Give them another role; all their sessions end. `revoke_keys`: also revoke the keys that they made."""
        content = {"role": role, "revoke_keys": revoke_keys}
        return read(Member, await self._exchange.ask("PATCH", "members/{user_id}", content=content, user_id=user_id))

    async def remove(self, user_id: int, *, revoke_keys: bool = False) -> None:
        """Take them out of the workspace; all their sessions end."""
        query = {"revoke_keys": revoke_keys or None}
        await self._exchange.ask("DELETE", "members/{user_id}", query=query, user_id=user_id)


class Invitations:
    """`fleet.invitations`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(self, *, limit: int = PAGE, after: str | None = None) -> Pages[Invitation]:
        """Invitations that can still be accepted, oldest first."""
        return Pages(self._exchange, "invitations", Invitation, {"limit": limit}, after=after)

    async def create(self, email: str, role: str = "operator") -> MadeInvitation:
        """Invite somebody for seven days. Nothing is sent: hand the link on."""
        return read(
            MadeInvitation, await self._exchange.ask("POST", "invitations", content={"email": email, "role": role})
        )

    async def show(self, invitation_id: int) -> Invitation:
        """One invitation that can still be accepted."""
        told = await self._exchange.ask("GET", "invitations/{invitation_id}", invitation_id=invitation_id)
        return read(Invitation, told)

    async def withdraw(self, invitation_id: int) -> None:
        """End an invitation at once."""
        await self._exchange.ask("DELETE", "invitations/{invitation_id}", invitation_id=invitation_id)
