"""Requests that nobody would think of, to every operation of the API: no fault, and every answer as described."""

from acceptance.attack import operations
from acceptance.fuzz import NEVER_LET_IN, QUICK_EXAMPLES, fuzz
from fleetcast.api.app import create_api
from fleetcast.runtime import Runtime
from tests.security.seeding import whole_workspace

SEED = 20_261_127
"""Another one finds other things: `make acceptance-fuzz` draws new ones, many more."""


async def test_whatever_is_asked_is_answered_as_described(runtime: Runtime) -> None:
    print(f"again, longer: python -m acceptance fuzz --quick --seed {SEED} --only 'GET /devices'")
    fuzzed = await fuzz(runtime, await whole_workspace(runtime), seed=SEED, examples=QUICK_EXAMPLES)
    assert not fuzzed.findings, "\n".join(map(str, fuzzed.findings.values()))
    every = operations(create_api(runtime).openapi())
    assert set(fuzzed.never_let_in(every)) <= set(NEVER_LET_IN)
    assert fuzzed.requests > 20 * len(every)
