"""`make acceptance-fuzz`: thousands of requests to every operation of the API, likely and unlikely ones.

The attack itself is `attack`. Here is what it is made against, a workspace in which something of everything exists, and
what is left out. A figure is a number that must be 0, and how much was asked is a figure as well.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Collection
from random import Random
from typing import Any
from urllib.parse import quote

from acceptance.attack import Fuzzed, attack, operations
from acceptance.report import Found
from acceptance.served import serving
from bench.stage import folder, server_versions
from fleetcast.api.app import PREFIX, create_api
from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services.accounts.keys import create_key
from fleetcast.services.workspaces import create_workspace
from fleetcast.settings import Settings
from fleetcast.store.schema import migrate

Tell = Callable[[str], None]

ROUNDS, QUICK_ROUNDS = 10, 1
EXAMPLES, QUICK_EXAMPLES = 40, 5
"""Drawn for each operation, beside those that go through its description one by one."""
REQUESTS, QUICK_REQUESTS = 30_000, 2_000
"""That must have been answered, so that silence is no success."""
LONGEST_ADDRESS = 50_000
"""Characters; uvicorn answers addresses of more than 64 KB itself, with 400 in plain text."""
UNLIMITED = 1_000_000
"""Requests a minute."""
NEVER_ACCEPTED: dict[str, str] = {}
"""Operations whose valid requests no description can make, and why."""


async def fuzz(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    *,
    seed: int,
    examples: int,
    only: Collection[str] = (),
    tell: Tell = print,
) -> Fuzzed:
    """One attack on the API of this installation, with a key that may do everything in a workspace."""
    settings = runtime.settings.model_copy(update={"api_requests_a_minute": UNLIMITED})
    here = dataclasses.replace(runtime, settings=settings)
    made = await create_key(here, workspace_id, f"fuzz {seed}", tuple(Scope), actor="acceptance")

    def spares(case: Any) -> bool:
        own = str((case.path_parameters or {}).get("key_id", "")) == str(made.key.id)
        too_long = len(quote(repr(case.query))) > LONGEST_ADDRESS
        return own or too_long or "https:" in repr(case.body)  # the attack's own key, and other people's servers

    async with serving(here) as address:
        return await asyncio.to_thread(
            attack,
            create_api(here).openapi(),
            f"{address}{PREFIX}",
            {"Authorization": f"Bearer {made.token}"},
            seed=seed,
            examples=examples,
            only=tuple(only),
            spares=spares,
            tell=tell,
        )


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
                drawn = random.randrange(2**31)
                workspace = await create_workspace(runtime, f"Round {number}", time_zone="Asia/Kuala_Lumpur")
                fuzzed = await fuzz(
                    runtime,
                    workspace.id,
                    seed=drawn,
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
    silent = [name for name in fuzzed.never_accepted(every) if name not in NEVER_ACCEPTED]
    faults = sum(n for counts in fuzzed.answers.values() for status, n in counts.items() if status >= 500)
    asked = f"Over {fuzzed.requests:,} requests to {len(fuzzed.answers)} operations, drawn from the description."
    found.add("fuzz_faults", faults, "answers", 0, f"Answers of 500 and above. {asked}")
    found.add("fuzz_findings", len(fuzzed.findings), "kinds", 0, f"Answers that are not as described. {asked}")
    found.add("fuzz_never_accepted", len(silent), "operations", 0, "Operations of which no request was accepted.")
    found.add(
        "fuzz_requests", fuzzed.requests, "times", QUICK_REQUESTS if quick else REQUESTS, "Requests that were answered."
    )
    found.details["fuzz"] = {
        "findings": [str(finding) for finding in fuzzed.findings.values()],
        "never_accepted": silent,
        "answers": {name: dict(sorted(counts.items())) for name, counts in sorted(fuzzed.answers.items())},
    }
