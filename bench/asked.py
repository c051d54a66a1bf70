"""What is asked for: every page of the dashboard and every GET of the API, found by themselves, with parameters.

A route is asked for as it is, with things of the large workspace in the place of its parameters; what is more telling
(a filter, a deep page, something that nobody finds) stands in a table here. Separate from the benchmark, which only
times them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

from fastapi.routing import APIRoute

from fleetcast.api.app import PREFIX, RESOURCES
from fleetcast.web.app import PAGES

LEFT_OUT: Mapping[str, str] = {
    "/events": "a stream",
    "/leads/export": "streams every lead; lead_export_rows_per_s measures it",
    "/leads/imports/{import_id}/rejected": "a file of a day",
    "/messages/export": "streams every message",
    "/campaigns/{campaign_id}/summary": "counts every lead by the planner's own rule, for as long as that takes",
    "/campaigns/{campaign_id}/by-device": "reads all messages of a campaign, beside its page",
    "/campaigns/{campaign_id}/tests/{message_id}": "of a test that was just sent",
    "/sequences/{sequence_id}/existing": "counts every lead by the rule of enrolling, once somebody is about to do so",
    "/sequences/{sequence_id}/by-device": "adds up every device of a sequence, beside its page",
    "/devices/{device_id}/test/{message_id}": "of a test that was just sent",
    "/devices/{device_id}/pair": "while a phone is being paired",
    "/devices/{device_id}/pair/now": "while a phone is being paired",
    "/sign-in": "for who is not signed in",
    "/sign-in/code": "for who is not signed in",
    "/invitations/{token}": "for who is not signed in",
    "/health": "for machines",
    "/ready": "for machines",
    "/metrics": "for machines",
    f"{PREFIX}/installation": "for people, not for keys",
    f"{PREFIX}/me": "for people, not for keys",
    f"{PREFIX}/me/sessions": "for people, not for keys",
    f"{PREFIX}/workspaces": "for people, not for keys",
    f"{PREFIX}/leads/export": "streams every lead",
    f"{PREFIX}/lead-imports/{{import_id}}/rejected": "a file of a day",
    f"{PREFIX}/devices/{{device_id}}/pairing": "while a phone is being paired",
    f"{PREFIX}/messages/export": "streams every message",
    f"{PREFIX}/sequences/{{sequence_id}}/existing": "counts every lead by the rule of enrolling, at most 30 s",
    f"{PREFIX}/campaigns/{{campaign_id}}/audience": "counts every lead by the planner's own rule, at most 30 s",
}
"""Routes that are not asked for, and why."""

MORE: Sequence[str] = (
    "/campaigns?status=finished",
    "/campaigns?status=finished&after={campaign_id}",
    "/campaigns/{largest}",
    "/campaigns/{paused}",
    "/campaigns/{running}",
    "/sequences?status=active",
    "/sequences/{sequence_id}?another=1&lead={lead_id}",
    "/sequences/{sequence_id}/enrolments?state=stopped",
    "/sequences/{sequence_id}/enrolments?after={enrolment_id}",
    "/sequences/{sequence_id}/enrolments?reason=by_person",
    "/sequences/{sequence_id}/enrolments?state=active&step={step_id}",
    "/sequences/{sequence_id}/enrolments?of=shop%200900",
    "/leads?after={lead_id}",
    "/leads?device={device_id}",
    "/leads?q={phone}",
    "/leads?q=%2B6011",
    "/leads?q=%2B60999999999",
    "/leads?q=aminah",
    "/leads?q=devi",
    "/leads?key=plan&value=gold",
    "/leads?key=order_no&value=A-999999",
    "/leads?out=yes",
    "/leads/more?niche=collectors&after={lead_id}",
    "/leads/more?key=order_no&value=A-999999&after={lead_id}",
    "/leads?niche=newcomers",
    "/devices?view=cards&after=shop%201500",
    "/devices/names?of=shop%202",
    "/leads?niche=beauty",
    "/leads?niche=beauty&after={lead_id}",
    "/leads?niche=collectors",
    "/leads?niche=nobody%20has%20it",
    "/leads?consent=refused",
    "/leads?consent=given&niche=retail",
    "/devices?after=shop%200900",
    "/devices?q=shop%20000",
    "/devices?q=nothing%20like%20it",
    "/devices?state=online",
    "/devices?state=banned",
    "/devices?state=online&after=shop%200900",
    "/messages?campaign={largest}",
    "/messages?campaign={largest}&after={phone}",
    "/messages?campaign={largest}&status=failed",
    "/messages?campaign={largest}&device={device_id}",
    "/messages?campaign={campaign_id}&status=skipped",
    "/messages?campaign={running}&status=sent",
    "/messages?after={message_id}",
    "/messages?status=failed",
    "/messages?device={device_id}",
    "/messages?to={phone}",
    "/messages?to=%2B60999999999",
    "/settings/audit?after={audit_id}",
    "/settings/audit?action=campaign.",
    "/settings/suppressions?after={phone}",
    "/settings/suppressions?number={phone}",
    f"{PREFIX}/campaigns?status=finished",
    f"{PREFIX}/campaigns?after={{campaign_id}}",
    f"{PREFIX}/campaigns/{{largest}}",
    f"{PREFIX}/reports/campaigns/{{largest}}",
    f"{PREFIX}/leads?after={{lead_id}}",
    f"{PREFIX}/leads?phone={{phone}}",
    f"{PREFIX}/leads?niche=beauty&after={{lead_id}}",
    f"{PREFIX}/leads?niche=collectors",
    f"{PREFIX}/leads?consent=refused",
    f"{PREFIX}/leads?device_id={{device_id}}",
    f"{PREFIX}/leads?limit=1000",
    f"{PREFIX}/devices?state=offline",
    f"{PREFIX}/devices?limit=1000&after={{device_id}}",
    f"{PREFIX}/messages?campaign_id={{largest}}&after={{phone}}",
    f"{PREFIX}/messages?campaign_id={{largest}}&status=failed",
    f"{PREFIX}/messages?recipient={{phone}}",
    f"{PREFIX}/messages?device_id={{device_id}}",
    f"{PREFIX}/messages?after={{message_id}}",
    f"{PREFIX}/messages?since={{since}}&until={{until}}",
    f"{PREFIX}/reports/failures?campaign_id={{largest}}",
    f"{PREFIX}/sequences/{{sequence_id}}/enrolments?state=stopped",
    f"{PREFIX}/sequences/{{sequence_id}}/enrolments?after={{enrolment_id}}",
    f"{PREFIX}/sequences/{{sequence_id}}/enrolments?device_id={{device_id}}",
    f"{PREFIX}/sequences/{{sequence_id}}/enrolments?stop_reason=by_person",
    f"{PREFIX}/sequences/{{sequence_id}}/enrolments?step_id={{step_id}}",
    f"{PREFIX}/sequences/{{sequence_id}}/preview?lead_id={{lead_id}}",
    f"{PREFIX}/suppressions?after={{phone}}",
    f"{PREFIX}/audit?after={{audit_id}}",
    f"{PREFIX}/audit?action=campaign.",
)
"""Asked for besides the routes as they are."""

_HOLE = re.compile(r"\{(\w+)(?::\w+)?\}")

Pool = Mapping[str, Sequence[str]]
"""What may stand in the place of a parameter, by its name."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One address that is asked for again and again, with other things in it each time."""

    name: str

    @property
    def of_api(self) -> bool:
        """Whether programs ask for it."""
        return self.name.startswith(PREFIX)

    def path(self, pool: Pool, random: Random) -> str:
        """The address with things of the pool in it."""
        return _HOLE.sub(lambda hole: quote(random.choice(pool[hole[1]]), safe=""), self.name)

    def lacks(self, pool: Pool) -> list[str]:
        """Parameters for which the pool has nothing."""
        return [name for name in _HOLE.findall(self.name) if not pool.get(name)]


def routes() -> Iterator[str]:
    """The paths of all pages and of all GETs of the API."""
    for prefix, parts in (("", PAGES), (PREFIX, RESOURCES)):
        for part in parts:
            for route in part.router.routes:
                if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
                    yield prefix + route.path


def everything() -> list[Ask]:
    """What is asked for, each once."""
    found = dict.fromkeys(path for path in routes() if path not in LEFT_OUT)
    return [Ask(name) for name in (*found, *MORE)]
