"""What a person writes about a campaign, read and checked: from words to columns.

Every refusal names its field, and all of them are collected, so that a form can show them at once. Separate from the
use cases because making and editing read the same words: a field that is not given is not touched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypedDict, TypeVar

from fleetcast.domain.campaign import NicheMatch, TargetStatus, WhenOffline
from fleetcast.domain.content import Template, check_variables
from fleetcast.domain.identifiers import DeviceId
from fleetcast.domain.lead import niche_names
from fleetcast.domain.pacing import Pace
from fleetcast.domain.schedule import LONGEST_DEADLINE, SHORTEST_DEADLINE, parse_deadline, parse_schedule
from fleetcast.errors import InvalidInput, InvalidInputs
from fleetcast.services.devices import ALL_DEVICES
from fleetcast.services.media import Source, checked_source
from fleetcast.services.naming import checked_name
from fleetcast.store import devices
from fleetcast.store.connection import Connection
from fleetcast.store.workspaces import Workspace

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)


class CampaignFields(TypedDict, total=False):
    """What may be given. An edit changes what is given and nothing else."""

    title: str
    body: str
    """Liquid, with the leads' variables."""
    media: Source | None
    """A stored medium, an https URL, a data URL, or a file that a person at this machine chose; None: none."""
    niches: Sequence[str]
    """Whole names; none: everybody."""
    niche_match: str
    target_status: str
    devices: Sequence[str]
    """Names; none, or `all`: all devices."""
    device_ids: Sequence[int]
    """The same by number, instead of names; at least one."""
    takes_newcomers: bool
    min_delay: float | None
    """Seconds; given together with max_delay. Both None: each device's own pace."""
    max_delay: float | None
    schedule: str
    """Local time of the workspace, or "now": when the campaign is launched."""
    deadline: str | timedelta
    """From the start: 7d, 36h, 90m."""
    when_offline: str


ANY_TIME = frozenset({"title", "min_delay", "max_delay", "deadline"})
"""May change while a campaign runs."""
BEFORE_THE_START = frozenset({"schedule"})
MADE_ANEW = frozenset({"body", "media", "niches", "niche_match", "target_status", "devices", "device_ids"})
"""Content and audience: what was never attempted is planned anew."""


@dataclass(slots=True)
class Checked:
    """What was given, fit for storing."""

    columns: dict[str, Any] = field(default_factory=dict)
    template: Template | None = None
    device_ids: tuple[DeviceId, ...] | None = None
    """The list that was given; None: none was, or it says all."""


def media_source(fields: CampaignFields) -> Source | None:
    """The medium that was given, if one was. Raises InvalidInput for a text that is no source."""
    source = fields.get("media")
    return None if source is None else checked_source(source)


async def check(
    connection: Connection,
    workspace: Workspace,
    now: datetime,
    fields: CampaignFields,
    pace: tuple[float | None, ...],
    *,
    may_be_empty: bool = False,
) -> Checked:
    """Read what was given. `pace` is what holds so far, for when only one of the delays is given. `may_be_empty`: there
    is a medium, and whether it goes without a text is asked of it.

    Raises InvalidInputs with everything that is wrong.
    """
    unknown = sorted(set(fields) - set(CampaignFields.__annotations__))
    if unknown:
        raise InvalidInput(unknown[0], "a campaign has no such field")
    problems: list[InvalidInput] = []
    checked = Checked()

    def read(work: Callable[[], T]) -> T | None:
        try:
            return work()
        except InvalidInputs as error:
            problems.extend(error.problems)
        except InvalidInput as error:
            problems.append(error)
        return None

    if "title" in fields:
        checked.columns["title"] = read(lambda: checked_name(fields["title"], "title"))
    if "body" in fields:
        checked.template = read(lambda: read_body(fields["body"], workspace, may_be_empty=may_be_empty))
    if "niches" in fields:
        checked.columns["niches"] = read(lambda: list(read_niches(fields["niches"])))
    choices: tuple[tuple[str, type[StrEnum]], ...] = (
        ("niche_match", NicheMatch),
        ("target_status", TargetStatus),
        ("when_offline", WhenOffline),
    )
    for name, kind in choices:
        if name in fields:
            checked.columns[name] = read(lambda n=name, k=kind: read_choice(k, fields[n], n))  # type: ignore[misc,literal-required]
    if "takes_newcomers" in fields:
        checked.columns["takes_newcomers"] = bool(fields["takes_newcomers"])
    if "min_delay" in fields or "max_delay" in fields:
        bounds = fields.get("min_delay", pace[0]), fields.get("max_delay", pace[1])
        given = read(lambda: Pace.from_optional(*bounds))
        checked.columns |= {
            "min_delay": given.min_delay if given else None,
            "max_delay": given.max_delay if given else None,
        }
    if "schedule" in fields:
        start = read(lambda: parse_schedule(fields["schedule"], workspace.time_zone, now))
        if start is not None:
            local = start.local is not None
            checked.columns |= {
                "schedule_local": start.local,
                "schedule_zone": start.zone if local else None,
                "starts_at": start.at if local else None,
            }
    if "deadline" in fields:
        checked.columns["deadline_after"] = read(lambda: _deadline(fields["deadline"]))
    if "devices" in fields and "device_ids" in fields:
        problems.append(InvalidInput("device_ids", "give devices by name or by number, not both"))
    elif "devices" in fields:
        checked.device_ids = await _devices(connection, workspace, fields["devices"], problems)
        checked.columns["all_devices"] = checked.device_ids is None
    elif "device_ids" in fields:
        checked.device_ids = await _numbered(connection, workspace, fields["device_ids"], problems)
        checked.columns["all_devices"] = False
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InvalidInputs(problems)
    return checked


def read_body(body: str, workspace: Workspace, *, may_be_empty: bool = False) -> Template:
    """A text as it was written. Raises InvalidInput with line and column, InvalidInputs for several variables."""
    if not body.strip() and not may_be_empty:
        raise InvalidInput("body", "a text is needed")
    template = Template.parse(body)
    check_variables(template, frozenset(workspace.attribute_keys))
    return template


_WIDER = "names nothing; give a name, or leave it out for"
"""What was left empty by mistake must not widen a campaign to all."""


def read_niches(given: Sequence[str]) -> tuple[str, ...]:
    """Niches as they are stored. Raises InvalidInput."""
    texts = [given] if isinstance(given, str) else given
    try:
        each = [niche_names([text]) for text in texts]
        if not all(each):
            raise InvalidInput("niches", f"one of them {_WIDER} everybody")
        return niche_names(texts)
    except InvalidInput as error:
        raise InvalidInput("niches", error.problem) from None


def read_choice(kind: type[Choice], word: str, name: str) -> str:
    """One of a few words. Raises InvalidInput that lists them."""
    try:
        return kind(str(word).strip().lower()).value
    except ValueError:
        raise InvalidInput(name, f"'{word}' is none of {', '.join(kind)}") from None


def _deadline(given: str | timedelta) -> timedelta:
    if isinstance(given, str):
        return parse_deadline(given)
    if not SHORTEST_DEADLINE <= given <= LONGEST_DEADLINE:
        raise InvalidInput("deadline", "give at least one minute and at most 90 days")
    return given


async def _devices(
    connection: Connection, workspace: Workspace, names: Sequence[str], problems: list[InvalidInput]
) -> tuple[DeviceId, ...] | None:
    wanted = [n.strip() for n in ([names] if isinstance(names, str) else names)]
    if not all(wanted):
        problems.append(InvalidInput("devices", f"one of them {_WIDER} all devices"))
        return None
    if not wanted or [w.lower() for w in wanted] == [ALL_DEVICES]:
        return None
    known = {d.name.lower(): d.id for d in await devices.of_workspace(connection, workspace.id)}
    problems.extend(
        InvalidInput("devices", f"there is no device called '{n}'") for n in wanted if n.lower() not in known
    )
    return tuple(sorted({known[n.lower()] for n in wanted if n.lower() in known}))


async def _numbered(
    connection: Connection, workspace: Workspace, ids: Sequence[int], problems: list[InvalidInput]
) -> tuple[DeviceId, ...]:
    known = await devices.existing(connection, workspace.id, ids)
    if not ids:
        problems.append(InvalidInput("device_ids", 'name at least one device, or say "all" in devices'))
    problems.extend(
        InvalidInput("device_ids", f"there is no device {i} in this workspace") for i in ids if i not in known
    )
    return tuple(sorted({DeviceId(i) for i in ids if i in known}))
