"""`make acceptance-fuzz`: thousands of requests to every operation of the API, likely and unlikely ones.

The attack itself is `attack`. Here is what it is made against: a workspace in which something of everything exists.
Some of the requests are led to it, because a drawn number names nothing that is there. Two come to it, a key that may
do everything and the owner at a page, for what no key may. A figure is a number that must be 0, and how much was asked
is a figure as well.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Collection
from random import Random
from typing import Any
from urllib.parse import quote

from schemathesis import GenerationMode

from acceptance.attack import Fuzzed, attack, operations
from acceptance.report import Found
from acceptance.served import serving
from bench.stage import folder, server_versions
from fleetcast.api.app import PREFIX, create_api
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services.accounts.entrance import cookie_name
from fleetcast.settings import Settings
from fleetcast.store.schema import migrate
from tests.security import asking
from tests.security.routes import Way, ways
from tests.security.seeding import Tenant, whole_workspace

Tell = Callable[[str], None]

ROUNDS, QUICK_ROUNDS = 10, 1
EXAMPLES, QUICK_EXAMPLES = 40, 3
"""Drawn for each operation, beside those that go through its description one by one."""
REQUESTS, QUICK_REQUESTS = 30_000, 2_000
"""That must have been answered, so that silence is no success."""
LONGEST_ADDRESS = 50_000
"""Characters; uvicorn answers addresses of more than 64 KB itself, with 400 in plain text."""
UNLIMITED = 1_000_000
"""Requests a minute."""
LED = 0.7
"""Share of the fitting requests that name what is there, and of these again that are made up whole."""
PHASES = ("examples", "coverage", "fuzzing")
_SPARED = ("DELETE /me/sessions", "DELETE /me/sessions/{session_id}", "POST /me/password")
"""They end the attack's own session."""
NEVER_LET_IN: dict[str, str] = {
    **dict.fromkeys(_SPARED, "would end the attack's own session; tests/api/test_me.py"),
    **dict.fromkeys(
        ("POST /messages/in-doubt/give-up", "POST /messages/in-doubt/resend"),
        "need a message in doubt that nobody has decided yet; tests/api/test_messages.py",
    ),
    **dict.fromkeys(
        (
            "GET /installation",
            "POST /installation/senders/{sender}/drain",
            "POST /installation/senders/{sender}/resume",
        ),
        "is for the owner of the installation; tests/api/test_installation.py",
    ),
    "PUT /sequences/{sequence_id}/order": "needs every step, and some are added meanwhile; tests/api/test_sequences.py",
    "DELETE /devices/{device_id}/pairing": "needs a device that shows codes just then; tests/client/test_resources.py",
    "POST /media/from": "needs a picture, or other people's servers; tests/api/test_media.py",
    "POST /workspaces": "is for whoever runs the installation; tests/api/test_workspaces.py",
    "POST /me/second-factor/confirm": "needs a code of this minute; tests/api/test_me.py",
    "POST /me/second-factor/off": "needs a code of this minute; tests/api/test_me.py",
    "POST /me/second-factor/recovery-codes": "needs a code of this minute; tests/api/test_me.py",
}
"""Operations of which no request comes through here, and why."""


async def fuzz(
    runtime: Runtime,
    tenant: Tenant,
    *,
    seed: int,
    examples: int,
    only: Collection[str] = (),
    tell: Tell = print,
) -> Fuzzed:
    """One attack on the API of this installation, from within a workspace that holds something of everything."""
    settings = runtime.settings.model_copy(update={"api_requests_a_minute": UNLIMITED})
    here = dataclasses.replace(runtime, settings=settings)
    api = create_api(here)
    led_to = {f"{way.method} {way.path.removeprefix(PREFIX)}": way for way in ways(api, PREFIX)}
    wanted = [name for name in operations(api.openapi()) if name not in _SPARED and (not only or name in only)]
    of_person = [name for name in wanted if _is_a_persons(led_to[name])]
    of_key = [name for name in wanted if name not in of_person]
    session = {"Cookie": f"{cookie_name(secure=False)}={tenant.owner.token}", "Sec-Fetch-Site": "same-origin"}
    key = {"Authorization": f"Bearer {tenant.key}"}
    removing = [name for name in of_key if name.startswith("DELETE")]  # last: nothing can be done with what is gone
    together = Fuzzed()
    async with serving(here) as address:
        for names, headers, phases in (
            (of_person, session, PHASES),
            ([name for name in of_key if name not in removing], key, (*PHASES, "stateful")),
            (removing, key, PHASES),
        ):
            if not names:
                continue
            fuzzed = await asyncio.to_thread(
                attack,
                api.openapi(),
                f"{address}{PREFIX}",
                headers,
                seed=seed,
                examples=examples,
                phases=phases,
                only=names,
                betters=_led(led_to, tenant, Random(seed)),
                spares=_is_spared,
                tell=tell,
            )
            together.take(fuzzed)
    return together


def _is_a_persons(way: Way) -> bool:
    """Whether no key may do it, or none may do it to the end."""
    return way.name in {"change_member", "remove_member"} or (way.rule is not None and way.rule.sessions_only)


def _led(led_to: dict[str, Way], tenant: Tenant, random: Random) -> Callable[[Any], None]:
    """Puts, now and then, what a member of this workspace may ask in place of what was drawn; and in place of the first
    that fits an operation, so that each is let in as far as it can be.
    """
    met: set[str] = set()

    def better(case: Any) -> None:
        way = led_to.get(case.operation.label)
        is_likely = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
        if way is None or case.method.upper() != way.method or not is_likely:
            return
        is_first = case.operation.label not in met
        met.add(case.operation.label)
        if not is_first and random.random() > LED:
            return
        ids = random.choice((tenant.ids, tenant.of_second))
        case.path_parameters.update({hole: asking.id_of(way, hole, ids) for hole in way.holes})
        if way.name == "upload_media" or (not is_first and random.random() > LED):
            return  # only the address; of an upload no content is against the description
        likely = asking.request(way, tenant, ids)
        case.query = dict(likely.query)
        if "json" in likely.content:
            case.body, case.media_type = likely.content["json"], "application/json"
        elif "content" in likely.content:
            case.body, case.media_type = likely.content["content"], likely.content["headers"]["Content-Type"]

    return better


def _is_spared(case: Any) -> bool:
    too_long = len(quote(repr(case.query))) > LONGEST_ADDRESS
    return too_long or "https:" in repr(case.body)  # other people's servers


async def run(seed: int, quick: bool, tell: Tell, only: Collection[str] = ()) -> Found:
    """Attack after attack, each with a seed of its own that is drawn from this one, on one installation."""
    found, random = Found(), Random(seed)
    together = Fuzzed()
    with folder() as place, EmbeddedServers(place / "servers") as servers:
        await migrate(servers.database_url)
        found.versions = dict(await server_versions(servers.database_url, servers.redis_url))
        settings = Settings(
            database_url=servers.database_url, redis_url=servers.redis_url, data=place / "node", log_level="error"
        )
        async with open_runtime(settings) as runtime:
            every = operations(create_api(runtime).openapi())
            for number in range(QUICK_ROUNDS if quick else ROUNDS):
                fuzzed = await fuzz(
                    runtime,
                    await whole_workspace(runtime),
                    seed=random.randrange(2**31),
                    examples=QUICK_EXAMPLES if quick else EXAMPLES,
                    only=only,
                    tell=lambda text, n=number: tell(f"round {n + 1}: {text}"),  # type: ignore[misc]
                )
                together.take(fuzzed)
                tell(f"round {number + 1}: {together.requests:,} requests, {len(together.findings)} findings")
    _note(found, together, [name for name in every if not only or name in only], quick)
    for finding in together.findings.values():
        tell(f"  WRONG: {finding}")
    return found


def _note(found: Found, fuzzed: Fuzzed, every: list[str], quick: bool) -> None:
    silent = [name for name in fuzzed.never_let_in(every) if name not in NEVER_LET_IN]
    faults = sum(n for counts in fuzzed.answers.values() for status, n in counts.items() if status >= 500)
    asked = f"Over {fuzzed.requests:,} requests to {len(fuzzed.answers)} operations, drawn from the description."
    found.add("fuzz_faults", faults, "answers", 0, f"Answers of 500 and above. {asked}")
    found.add("fuzz_findings", len(fuzzed.findings), "kinds", 0, f"Answers that are not as described. {asked}")
    found.add("fuzz_never_let_in", len(silent), "operations", 0, "Operations of which no request came through.")
    found.add(
        "fuzz_requests", fuzzed.requests, "times", QUICK_REQUESTS if quick else REQUESTS, "Requests that were answered."
    )
    found.details["fuzz"] = {
        "findings": [str(finding) for finding in fuzzed.findings.values()],
        "never_let_in": silent,
        "answers": {name: dict(sorted(counts.items())) for name, counts in sorted(fuzzed.answers.items())},
    }
