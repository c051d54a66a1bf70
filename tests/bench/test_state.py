"""The state of a large install, made small: every promise holds in it, and its guards are back in place.

And what is asked for on it: no page and no GET of the API is forgotten.
"""

import re
from random import Random

from bench.asked import LEFT_OUT, MORE, Ask, everything, routes
from bench.pages import POOL
from bench.scale import TINY
from bench.state import make_state
from fleetcast.runtime import Runtime
from fleetcast.store.invariants import broken_invariants

KEYS = """
SELECT (SELECT count(*) FROM broadcast_messages b LEFT JOIN leads l
    ON (l.workspace_id, l.device_id, l.id) = (b.workspace_id, b.device_id, b.lead_id)
  WHERE l.id IS NULL OR l.phone <> b.recipient)
  + (SELECT count(*) FROM broadcast_messages b LEFT JOIN campaigns c
    ON (c.workspace_id, c.id) = (b.workspace_id, b.campaign_id) WHERE b.campaign_id IS NOT NULL AND c.id IS NULL)
  + (SELECT count(*) FROM leads l LEFT JOIN devices d
    ON (d.workspace_id, d.id) = (l.workspace_id, l.device_id) WHERE d.id IS NULL)
  + (SELECT count(*) FROM inbox i LEFT JOIN devices d
    ON (d.workspace_id, d.id) = (i.workspace_id, i.device_id) WHERE d.id IS NULL)
  + (SELECT count(*) FROM message_attempts a LEFT JOIN broadcast_messages b
    ON b.id = a.message_id WHERE b.id IS NULL)"""
"""Rows whose keys lead nowhere: none were asked while they were written."""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"


async def test_every_promise_holds_in_it_and_nothing_is_left_switched_off(runtime: Runtime) -> None:
    async with runtime.db.connection() as connection:
        indexes = await connection.fetch(INDEXES)
    large = TINY.state
    made = await make_state(runtime, large, 1, lambda _: None)
    async with runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []
        assert await connection.fetchval(KEYS) == 0
        assert await connection.fetch(INDEXES) == indexes
        assert await connection.fetchval("SHOW session_replication_role") == "origin"
        counted = await connection.fetchrow(
            """SELECT (SELECT count(*) FROM devices WHERE workspace_id = $1) AS devices,
              (SELECT count(*) FROM leads WHERE workspace_id = $1) AS leads,
              (SELECT count(*) FROM campaigns WHERE workspace_id = $1) AS campaigns,
              (SELECT count(*) FROM broadcast_messages WHERE workspace_id = $1) AS messages,
              (SELECT count(DISTINCT status) FROM broadcast_messages WHERE workspace_id = $1) AS statuses,
              (SELECT count(*) FROM broadcast_messages WHERE campaign_id = $2) AS largest""",
            made.workspace,
            made.largest_campaign,
        )
    assert counted is not None
    assert [counted[name] for name in ("devices", "leads", "campaigns")] == [
        large.devices,
        large.leads,
        large.campaigns,
    ]
    assert counted["messages"] >= 0.9 * large.messages
    assert counted["statuses"] >= 5
    assert counted["largest"] == large.leads


def test_no_page_and_no_get_of_the_api_is_forgotten() -> None:
    there = set(routes())
    assert there >= LEFT_OUT.keys(), "what is left out has gone"
    asked = {ask.name for ask in everything()}
    assert asked >= there - LEFT_OUT.keys()
    known = {name: ["1"] for name in (*POOL, "largest", "running", "since", "until", "process")}
    lacking = {ask.name: ask.lacks(known) for ask in everything() if ask.lacks(known)}
    assert lacking == {}, "add what stands there to POOL in bench/pages.py, or the route to LEFT_OUT"
    for more in MORE:
        path = re.sub(r"{\w+}", "{}", more.partition("?")[0])
        assert any(re.sub(r"{\w+(:\w+)?}", "{}", route) == path for route in there), f"{more} is no page"


def test_a_parameter_is_filled_with_what_is_there() -> None:
    path = Ask("/leads?number={phone}&after={lead_id}").path({"phone": ["+60123"], "lead_id": ["7"]}, Random(1))
    assert path == "/leads?number=%2B60123&after=7"
