"""Which leads somebody means: what a list shows, what an export contains, what a change of many is done to.

Separate from a campaign's audience, which never reaches who refused: a filter finds everybody, those in particular.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from fleetcast.domain.identifiers import DeviceId, LeadId, Phone
from fleetcast.domain.lead import Consent, LeadStatus


@dataclass(frozen=True, slots=True)
class LeadFilter:
    """What they have in common; None or empty: anything. All of it holds at once."""

    device_id: DeviceId | None = None
    phone: Phone | None = None
    """Exactly this number."""
    numbers: tuple[str, ...] = ()
    """How the number may begin, in E.164: `+6012`. One of these is enough."""
    name: str = ""
    """How the name begins; capitals make no difference."""
    niche: str | None = None
    """As it is stored; the whole name."""
    target_status: LeadStatus | None = None
    consent: Consent | None = None
    opted_out: bool | None = None
    """Whether they are on the suppression list."""
    attribute: str | None = None
    value: str = ""
    """What the attribute is; capitals make no difference."""
    ids: tuple[LeadId, ...] = ()
    """Exactly these."""

    @property
    def is_everybody(self) -> bool:
        """Whether it leaves nobody out."""
        return self == LeadFilter()

    @property
    def needs_a_look(self) -> bool:
        """Whether leads have to be looked at one by one: no index leads from these to who is meant."""
        looked_at = (self.niche, self.target_status, self.consent, self.opted_out, self.attribute)
        return any(each is not None for each in looked_at)

    @property
    def named(self) -> list[str]:
        """What it says, without a word of what it is: for a log that keeps nothing of anybody."""
        return [f.name for f in fields(self) if getattr(self, f.name) not in (None, "", ())]

    def as_json(self) -> dict[str, Any]:
        """As it is stored; what says nothing is left out."""
        return {name: getattr(self, name) for name in self.named}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The filter that was stored."""
        given = dict(stored)
        for name, kind in (("target_status", LeadStatus), ("consent", Consent), ("numbers", tuple), ("ids", tuple)):
            if name in given:
                given[name] = kind(given[name])
        return cls(**given)
