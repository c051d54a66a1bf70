"""One call of the client until it is answered: what is asked again, how long, and done how often."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

import pytest
from fastapi import FastAPI

from fleetcast.api.app import PREFIX, create_api
from fleetcast.client import (
    ApiError,
    Client,
    Conflict,
    Device,
    FieldError,
    Forbidden,
    InvalidInput,
    NotFound,
    ServerFault,
    TooMany,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.web.app import create_app
from tests.api import tenants
from tests.api.test_rate_limits import pass_time
from tests.client.stage import Network, Time, altered, client, lost_after, lost_before, says, through
from tests.running import until

AWAY = {"type": "urn:fleetcast:unavailable", "title": "A server is away", "status": 503, "detail": "Wait."}


async def devices_of(fleet: Client) -> list[Device]:
    return [device async for device in fleet.devices.list()]


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "  ", "fck_caf\u00e9"])
def test_a_key_that_can_be_none_is_refused_before_anything_is_asked(key: str) -> None:
    with pytest.raises(ValueError, match="it begins with fck_"):
        Client("http://127.0.0.1:8080", key)


async def test_a_change_whose_answer_was_lost_is_made_once_and_its_answer_comes(
    fleet: Client, network: Network
) -> None:
    network.script = [lost_after, lost_after]
    made = await fleet.devices.create("Shop")
    assert [d.id for d in await devices_of(fleet)] == [made.id]
    first, *others = network.keys[:3]
    assert first
    assert others == [first, first]


async def test_every_change_has_a_key_of_its_own_and_what_only_reads_has_none(fleet: Client, network: Network) -> None:
    made = await fleet.devices.create("Shop")
    await fleet.devices.pause(made.id)
    await fleet.devices.change(made.id, min_delay=1, max_delay=2)
    await fleet.devices.remove(made.id)
    assert await devices_of(fleet) == []
    assert None not in network.keys[:-1]
    assert len(set(network.keys)) == 5
    assert network.keys[-1] is None


async def test_a_program_that_was_killed_asks_again_under_the_same_name_and_it_is_done_once(
    network: Network, key: str
) -> None:
    made = []
    for _ in range(2):  # two lives of one program
        async with client(network, key, random=Random()) as fleet:
            once = fleet.once("shops of 26 November")
            made.append([(await once.devices.create(name)).id for name in ("KL", "Penang")])
    assert made[0] == made[1]
    async with client(network, key) as fleet:
        assert [d.name for d in await devices_of(fleet)] == ["KL", "Penang"]


async def test_a_name_that_was_used_for_another_change_is_refused(fleet: Client) -> None:
    await fleet.once("one").devices.create("KL")
    with pytest.raises(InvalidInput) as refused:
        await fleet.once("one").devices.create("Penang")
    assert [error.field for error in refused.value.errors] == ["Idempotency-Key"]
    with pytest.raises(ValueError, match="printable"):
        fleet.once("caf\u00e9\n")


async def test_while_the_first_try_is_worked_on_the_second_waits_for_its_answer(
    fleet: Client, network: Network, time: Time, runtime: Runtime
) -> None:
    async with runtime.db.connection() as locker:
        await locker.execute("BEGIN; LOCK TABLE devices IN SHARE MODE")
        first = asyncio.create_task(fleet.once("one").devices.create("Shop"), name="first try")

        async def begun() -> bool:
            async with runtime.db.connection() as connection:
                return bool(await connection.fetchval("SELECT count(*) FROM idempotency_keys"))

        await until(begun)

        async def release(_: float) -> None:
            if len(time.waits) == 3:
                await locker.execute("COMMIT")
                await first

        time.meanwhile = release
        second = await fleet.once("one").devices.create("Shop")
    assert second == await first
    assert len(time.waits) == 3
    assert all(seconds >= 1 for seconds in time.waits), "as Retry-After says"
    assert len(await devices_of(fleet)) == 1


# --- again, and no more ----------------------------------------------------------------------------------------------


async def test_what_was_never_answered_is_asked_again_until_patience_is_over(
    fleet: Client, network: Network, time: Time
) -> None:
    network.script = [lost_before] * 100
    with pytest.raises(Unreachable, match=r"does not answer, asked \d+ times: connection refused"):
        await fleet.devices.show(1)
    assert 40 < time.seconds < 60
    assert 8 < len(network.requests) < 40
    assert max(time.waits) <= 8


async def test_waits_grow_and_are_drawn_so_that_many_clients_do_not_come_back_at_once(app: FastAPI, key: str) -> None:
    def waits(seed: int) -> list[float]:
        return found[seed]

    found: dict[int, list[float]] = {}
    for seed in (1, 2, 1):
        time, network = Time(), Network(app, *[lost_before] * 100)
        async with client(network, key, time, random=Random(seed)) as fleet:
            with pytest.raises(Unreachable):
                await fleet.devices.show(1)
        found.setdefault(seed, time.waits)
        assert found[seed] == time.waits, "the same draws wait the same"
    assert waits(1) != waits(2)
    assert all(wait <= min(8.0, 0.25 * 2**n) for wait, n in zip(waits(1), range(1, 100), strict=False))


async def test_retry_after_is_respected(fleet: Client, network: Network, time: Time) -> None:
    network.script = [says(503, AWAY, Retry_After="5"), says(429, {}, Retry_After="11"), says(503, "<html>")]
    assert await devices_of(fleet) == []
    assert [seconds >= at_least for seconds, at_least in zip(time.waits, (5, 11, 0), strict=True)] == [True] * 3
    assert time.seconds < 5 + 11 + 3


async def test_a_date_in_retry_after_is_understood(fleet: Client, network: Network, time: Time) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    network.script = [says(503, AWAY, Retry_After=at)]
    assert await devices_of(fleet) == []
    assert 18 <= time.waits[0] <= 21


async def test_who_shall_come_back_later_than_patience_lasts_is_told_at_once(
    fleet: Client, network: Network, time: Time
) -> None:
    network.script = [says(503, AWAY, Retry_After="3600")]
    with pytest.raises(Unavailable) as refused:
        await devices_of(fleet)
    assert refused.value.retry_after == 3600
    assert time.waits == []


async def test_the_limit_of_a_key_is_waited_for(runtime: Runtime, workspace: WorkspaceId, key: str) -> None:
    settings = runtime.settings.model_copy(update={"api_requests_a_minute": 5})
    narrow = Runtime(settings, runtime.db, runtime.redis, runtime.keys, runtime.nudges)
    network, time = Network(create_app(narrow, (PREFIX, create_api(narrow)))), Time()
    time.meanwhile = lambda seconds: pass_time(runtime.redis, runtime, seconds)
    async with client(network, key, time, patience=300) as fleet:
        for number in range(12):
            await fleet.devices.create(f"D{number}")
        assert len(await devices_of(fleet)) == 12
    assert time.waits
    assert len(network.requests) == 13 + len(time.waits), "one refusal a wait"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 500, 501])
async def test_no_other_refusal_is_asked_again(fleet: Client, network: Network, time: Time, status: int) -> None:
    network.script = [says(status, {"type": "urn:x", "title": "No", "status": status, "detail": "Never."})]
    with pytest.raises(ApiError, match=rf"Never\. \({status}\)") as refused:
        await fleet.devices.create("Shop")
    assert refused.value.status == status
    assert len(network.requests) == 1
    assert time.waits == []


async def test_a_call_that_is_cancelled_ends_at_once(fleet: Client, network: Network, time: Time) -> None:
    waiting = asyncio.Event()

    async def for_ever(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    time.meanwhile = for_ever
    network.script = [lost_before] * 100
    call = asyncio.create_task(fleet.devices.show(1), name="call")
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(network.requests) == 1


# --- what comes back -------------------------------------------------------------------------------------------------


async def test_a_refusal_carries_its_problem_details(fleet: Client) -> None:
    with pytest.raises(InvalidInput) as refused:
        await fleet.devices.create("Shop", region="Mars")
    error = refused.value
    assert (error.status, error.type, error.title) == (422, "urn:fleetcast:invalid-input", "Invalid input")
    assert [e.field for e in error.errors] == ["region"]
    assert isinstance(error.errors[0], FieldError)
    assert error.errors[0].detail
    assert error.detail in str(error)


async def test_refusals_are_told_apart(
    app: FastAPI, fleet: Client, network: Network, runtime: Runtime, workspace: WorkspaceId
) -> None:
    with pytest.raises(NotFound):
        await fleet.devices.show(1)
    async with client(Network(app), "fck_unknown") as stranger:
        with pytest.raises(Unauthenticated):
            await stranger.devices.show(1)
    async with client(Network(app), await tenants.key(runtime, workspace, {Scope.READ})) as reader:
        with pytest.raises(Forbidden):
            await reader.devices.create("Shop")
    for status, kind in ((409, Conflict), (429, TooMany), (500, ServerFault)):
        network.script = [says(status, {}, Retry_After="9999")]
        with pytest.raises(kind):
            await fleet.devices.show(1)


async def test_what_a_newer_server_says_more_is_no_trouble(fleet: Client, network: Network) -> None:
    made = await fleet.devices.create("Shop")
    network.script = [altered(lambda told: told | {"novelty": {"deep": [1]}, "state": "levitating"})]
    shown = await fleet.devices.show(made.id)
    assert (shown.name, shown.state) == ("Shop", "levitating")


@pytest.mark.parametrize(
    ("field", "value"), [("name", None), ("id", "7"), ("min_delay", "soon"), ("created_at", "yesterday"), ("id", True)]
)
async def test_an_answer_that_cannot_be_read_is_an_error_that_names_the_place(
    fleet: Client, network: Network, field: str, value: object
) -> None:
    made = await fleet.devices.create("Shop")
    network.script = [altered(lambda told: told | {field: value})]
    with pytest.raises(UnexpectedAnswer, match=f"Device.{field}"):
        await fleet.devices.show(made.id)
    network.script = [altered(lambda told: {name: told[name] for name in told if name != field})]
    with pytest.raises(UnexpectedAnswer, match=f"Device.{field}"):
        await fleet.devices.show(made.id)


@pytest.mark.parametrize("answer", [says(200, "<html>"), says(200, []), says(200, {"items": 7}), says(302)])
async def test_what_is_not_this_api_is_named_as_that(fleet: Client, network: Network, answer: object) -> None:
    network.script = [answer]  # type: ignore[list-item]
    with pytest.raises(UnexpectedAnswer):
        await devices_of(fleet)
    assert len(network.requests) == 1, "a key is not carried elsewhere"


@pytest.mark.parametrize("tail", ["", "/", "/api/v1", "/api/v1/"])
async def test_the_address_may_be_given_with_or_without_the_path_of_the_api(app: FastAPI, key: str, tail: str) -> None:
    async with Client(tenants.BASE + tail, key, transport=Network(app)) as fleet:
        assert await devices_of(fleet) == []


async def test_the_key_is_in_no_text(
    fleet: Client, network: Network, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    network.script = [lost_before, says(503, AWAY), says(500, {})]
    with caplog.at_level(logging.DEBUG, "fleetcast.client"), pytest.raises(ServerFault) as refused:
        await fleet.devices.show(1)
    assert len(caplog.records) == 2
    assert key not in f"{caplog.text} {fleet!r} {vars(fleet)!r} {refused.value!r} {vars(refused.value)!r}"


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def five(fleet: Client, network: Network) -> list[int]:
    """Ids of five devices."""
    found = [(await fleet.devices.create(f"D{n}")).id for n in range(5)]
    network.requests.clear()
    return found


async def test_a_list_is_gone_through_page_by_page_and_only_as_far_as_it_is_wanted(
    fleet: Client, network: Network, five: list[int]
) -> None:
    assert [d.id async for d in fleet.devices.list(limit=2)] == five
    assert len(network.requests) == 3
    network.requests.clear()
    async for device in fleet.devices.list(limit=2):
        if device.id == five[1]:
            break
    assert len(network.requests) == 1


async def test_a_list_goes_on_where_a_page_said(fleet: Client, five: list[int]) -> None:
    pages = [page async for page in fleet.devices.list(limit=2).pages()]
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert pages[-1].next is None
    assert [d.id async for d in fleet.devices.list(after=pages[0].next)] == five[2:]


async def test_a_page_that_is_lost_is_asked_again_and_nothing_is_missed_or_doubled(
    fleet: Client, network: Network, five: list[int]
) -> None:
    network.script = [through, lost_after, says(503, AWAY), through, lost_before]
    assert [d.id async for d in fleet.devices.list(limit=2)] == five
