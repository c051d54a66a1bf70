"""Who may do what: roles of members, scopes of keys, and what a request is allowed once it is known who asks.

There are three things to be allowed, and every route and page needs one of them. A role is a set of them, a key is
given some of them; so there is one question, asked in one place.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from fleetcast.domain.identifiers import DeviceId, WorkspaceId

UserId = NewType("UserId", int)
SessionId = NewType("SessionId", int)
KeyId = NewType("KeyId", int)


class Scope(StrEnum):
    """What a request needs."""

    READ = "read"
    """See devices, leads, campaigns, messages, reports."""
    SEND = "send"
    """Whatever makes messages leave or stop: leads, media, campaigns, suppressions; of devices their pauses and paces,
    linking them to phones and logging them out.
    """
    MANAGE = "manage"
    """Members, keys, the audit log, adding and removing devices, lifting suppressions."""


class Role(StrEnum):
    """What a member is in a workspace, least first."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"


SCOPES: Mapping[Role, frozenset[Scope]] = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.OPERATOR: frozenset({Scope.READ, Scope.SEND}),
    Role.OWNER: frozenset(Scope),
}


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks, for which workspace, and what they may do there. Made from a session or from a key, never from what a
    request says of itself.
    """

    workspace_id: WorkspaceId
    actor: str
    """As it stands in the audit log: `user:ann@example.org` or `key:12 shop export`."""
    scopes: frozenset[Scope]
    device_id: DeviceId | None = None
    """A key for one device: everything else is as if it were not there."""
    user_id: UserId | None = None
    session_id: SessionId | None = None
    key_id: KeyId | None = None

    def may(self, scope: Scope) -> bool:
        """Whether this is allowed."""
        return scope in self.scopes

    def may_give(self, scopes: Collection[Scope]) -> bool:
        """Whether a member or key with these scopes can be made, changed or removed: nobody gives or takes what they
        do not have, and who else may manage is for people to decide, never for a key.
        """
        return self.scopes.issuperset(scopes) and (Scope.MANAGE not in scopes or self.user_id is not None)
