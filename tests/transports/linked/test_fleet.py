"""Linked devices in a running Fleetcast: linked, killed, logged out, handed over; judged by what came to phones."""

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import CampaignId, MessageId
from fleetcast.domain.message import MessageStatus
from fleetcast.embedded.data_directory import node_id, sessions_folder
from fleetcast.engine.processes import run_scheduler, run_sender
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services import pairing
from fleetcast.services.campaign_actions import launch_campaign
from fleetcast.services.campaign_fields import CampaignFields
from fleetcast.services.campaigns import create_campaign, show_campaign
from fleetcast.services.device_proxy import set_proxy
from fleetcast.services.devices import Device, add_device, find_device, set_state
from fleetcast.services.doctor import examine
from fleetcast.services.doubts import confirm_arrived
from fleetcast.services.lead_import import import_leads
from fleetcast.services.linked_sessions import LOST, SessionAccount, lose_node, move_node, nodes
from fleetcast.services.media import LocalFile, Source
from fleetcast.services.messages import Story, show_message
from fleetcast.services.single_sends import SingleSend, send_message
from fleetcast.services.workspaces import Workspace, create_workspace
from fleetcast.store import identity, shards
from fleetcast.store.invariants import broken_invariants
from fleetcast.transports.linked.client import LinkedTransport
from testbed.whatsapp_web.behaviour import Ack, Receipts, Treatment
from testbed.whatsapp_web.control import Control
from testbed.whatsapp_web.launch import Testbed
from testbed.whatsapp_web.protobufs import Message
from testbed.whatsapp_web.session_files import SessionFiles
from tests import recordings
from tests.running import until
from tests.store.broadcast import move_time
from tests.transports.linked.scene import PNG, environment, fresh_number, kill_children


class LinkedFleet:
    """A scheduler and a sender whose devices are linked ones."""

    def __init__(
        self, runtime: Runtime, workspace: Workspace, testbed: Testbed, control: Control, files: SessionFiles
    ) -> None:
        self.runtime = runtime
        self.workspace = workspace
        self.control = control
        self.files = files
        self.proxy = testbed.reach.proxy
        self._environment = environment(testbed)
        self.transport: LinkedTransport
        self.folder: Path

    @asynccontextmanager
    async def sender(self) -> AsyncIterator[None]:
        """One sender at work."""
        async with self.runtime.db.connection() as connection:
            install = await identity.install_id(connection)
        data = self.runtime.settings.data
        self.folder = sessions_folder(data, install)
        account = SessionAccount(self.runtime, node_id(data))
        self.transport = LinkedTransport(self.folder, keeper=account, environment=self._environment)
        stop = asyncio.Event()
        task = asyncio.create_task(
            run_sender(self.runtime, transports={TransportKind.LINKED: self.transport}, stop=stop), name="sender"
        )
        try:
            yield
        finally:
            stop.set()
            await task

    async def device(self, name: str) -> Device:
        """A linked device that connects through the testbed, not linked yet."""
        made = await add_device(
            self.runtime, self.workspace.id, name, transport="linked", min_delay=0, max_delay=0, actor="a person"
        )
        await set_proxy(self.runtime, self.workspace.id, made.id, self.proxy, actor="a person")
        return made

    async def linked(self, name: str, number: str) -> Device:
        """A device that is linked and online; its session was made without pairing."""
        device = await self.device(name)
        await self.files.make(self.control, number, self.folder / f"{device.id}.db")
        await set_state(self.runtime, device.id, DeviceState.CONNECTING, "")
        return await self.is_now(device, DeviceState.ONLINE)

    async def pair(self, device: Device, number: str) -> Device:
        """Link it to a phone by QR code; it is online."""
        await pairing.start_pairing(self.runtime, self.workspace.id, device.id, actor="a person")

        async def has_code() -> bool:
            found = await pairing.look(self.runtime, self.workspace.id, device.id, with_code=True)
            return found.code is not None

        await until(has_code)
        found = await pairing.look(self.runtime, self.workspace.id, device.id, with_code=True)
        assert found.code is not None
        await self.control.scan(number, found.code.text)
        return await self.is_now(device, DeviceState.ONLINE)

    async def is_now(self, device: Device, state: DeviceState) -> Device:
        """Wait until a device is in this state."""

        async def reached() -> bool:
            return (await find_device(self.runtime, self.workspace.id, device.name)).state is state

        await until(reached)
        return await find_device(self.runtime, self.workspace.id, device.name)

    async def campaign(
        self, text: str, *devices: Device, leads: dict[str, list[str]], media: Source | None = None
    ) -> CampaignId:
        """Start a campaign over devices to these numbers."""
        for device in devices:
            path = self.folder.parent / "leads.csv"
            path.write_text("phone\n" + "".join(f"+{number}\n" for number in leads[device.name]))
            await import_leads(self.runtime, self.workspace.id, device.id, path)
        given: CampaignFields = {
            "title": text,
            "body": text,
            "schedule": "now",
            "device_ids": [d.id for d in devices],
            "media": media,
        }
        made = await create_campaign(self.runtime, self.workspace.id, given, actor="a person")
        await launch_campaign(self.runtime, self.workspace.id, made.id, actor="a person")
        return made.id

    async def finished(self, campaign: CampaignId) -> dict[str, int]:
        """Wait for the end; counts by status."""

        async def over() -> bool:
            found = await show_campaign(self.runtime, self.workspace.id, campaign)
            return found.campaign.status is CampaignStatus.FINISHED

        await until(over)
        found = await show_campaign(self.runtime, self.workspace.id, campaign)
        return {status: n for status, n in found.counts.by_status.items() if n}

    async def texts(self, number: str) -> list[tuple[str, str]]:
        """What came to a phone: from which number, and the text."""
        arrivals = await self.control.arrivals(number)
        return [(each.sender.partition(":")[0], each.text) for each in arrivals]


@pytest.fixture
async def fleet(
    runtime: Runtime, testbed: Testbed, control: Control, session_files: SessionFiles
) -> AsyncIterator[LinkedFleet]:
    workspace = await create_workspace(runtime, "My shop", time_zone="Asia/Kuala_Lumpur", region="MY")
    stop = asyncio.Event()
    made = LinkedFleet(runtime, workspace, testbed, control, session_files)
    idle = LinkedTransport(runtime.settings.data / "nothing")
    scheduler = asyncio.create_task(
        run_scheduler(runtime, transports={TransportKind.LINKED: idle}, stop=stop), name="scheduler"
    )
    yield made
    stop.set()
    await scheduler


async def test_a_device_is_linked_by_qr_code_and_sends_a_campaign(fleet: LinkedFleet) -> None:
    owner, people = fresh_number(), [fresh_number() for _ in range(5)]
    async with fleet.sender():
        device = await fleet.pair(await fleet.device("Shop"), owner)
        assert device.phone == f"+{owner}"
        campaign = await fleet.campaign("Hello from @12345", device, leads={"Shop": people})
        assert await fleet.finished(campaign) == {"sent": 5}

        async def all_read() -> bool:
            found = await show_campaign(fleet.runtime, fleet.workspace.id, campaign)
            return found.counts.read == 5

        await until(all_read)
    for person in people:
        assert await fleet.texts(person) == [(owner, "Hello from @12345")]
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


async def test_a_campaign_with_a_picture_arrives_with_its_caption_byte_for_byte(
    fleet: LinkedFleet, tmp_path: Path
) -> None:
    picture = tmp_path / "offer.png"
    picture.write_bytes(PNG)
    people = [fresh_number() for _ in range(3)]
    async with fleet.sender():
        device = await fleet.linked("Shop", fresh_number())
        campaign = await fleet.campaign("Look", device, leads={"Shop": people}, media=LocalFile(picture))
        assert await fleet.finished(campaign) == {"sent": 3}
    for person in people:
        (arrival,) = await fleet.control.arrivals(person)
        assert (arrival.kind, arrival.text, arrival.mime) == ("image", "Look", "image/png")
        assert await fleet.control.file(arrival.file_sha256) == PNG


async def test_a_campaign_with_a_video_arrives_with_what_was_found_in_it_when_it_was_stored(
    fleet: LinkedFleet, tmp_path: Path
) -> None:
    film = tmp_path / "offer.mp4"
    film.write_bytes(recordings.video())
    people = [fresh_number() for _ in range(2)]
    async with fleet.sender():
        device = await fleet.linked("Shop", fresh_number())
        campaign = await fleet.campaign("Look", device, leads={"Shop": people}, media=LocalFile(film))
        assert await fleet.finished(campaign) == {"sent": 2}
    for person in people:
        (arrival,) = await fleet.control.arrivals(person)
        assert (arrival.kind, arrival.text, arrival.mime, arrival.seconds) == ("video", "Look", "video/mp4", 1)
        assert await fleet.control.file(arrival.file_sha256) == recordings.video()
        told = Message.FromString(base64.b64decode(arrival.plain)).videoMessage
        assert (told.width, told.height) == (64, 48)
        assert told.jpegThumbnail.startswith(b"\xff\xd8\xff")


async def test_f24_each_lead_is_written_to_by_its_own_device_and_by_no_other(fleet: LinkedFleet) -> None:
    async with fleet.sender():
        owners = {name: fresh_number() for name in ("One", "Two", "Three")}
        devices = [await fleet.linked(name, number) for name, number in owners.items()]
        leads = {name: [fresh_number() for _ in range(4)] for name in owners}
        campaign = await fleet.campaign("Hello", *devices, leads=leads)
        assert await fleet.finished(campaign) == {"sent": 12}
    for name, people in leads.items():
        for person in people:
            assert await fleet.texts(person) == [(owners[name], "Hello")]


async def test_f25_what_waits_for_a_device_that_is_gone_does_not_leave_by_another(fleet: LinkedFleet) -> None:
    async with fleet.sender():
        owner = fresh_number()
        here, gone = await fleet.linked("Here", owner), await fleet.linked("Gone", fresh_number())
        assert gone.phone is None, "its session was made without pairing"
        await set_state(fleet.runtime, gone.id, DeviceState.LOGGED_OUT, "logged out on the phone")
        leads = {"Here": [fresh_number()], "Gone": [fresh_number()]}
        campaign = await fleet.campaign("Hello", here, gone, leads=leads)

        async def the_one_has_left() -> bool:
            return await fleet.texts(leads["Here"][0]) == [(owner, "Hello")]

        await until(the_one_has_left)
        found = await show_campaign(fleet.runtime, fleet.workspace.id, campaign)
        assert found.counts.by_status.get("pending") == 1
    assert await fleet.texts(leads["Gone"][0]) == []


async def test_children_that_are_killed_during_a_campaign_cost_no_message_and_double_none(fleet: LinkedFleet) -> None:
    """What was under way in that moment is in doubt, until the phone's receipt says that it came."""
    async with fleet.sender():
        devices = [await fleet.linked(name, fresh_number()) for name in ("One", "Two", "Three")]
        leads = {d.name: [fresh_number() for _ in range(25)] for d in devices}
        campaign = await fleet.campaign("Hello", *devices, leads=leads)
        people = [person for each in leads.values() for person in each]
        for part in (10, 30, 50):

            async def many_have_arrived(part: int = part) -> bool:
                return sum([bool(await fleet.texts(person)) for person in people]) >= part

            await until(many_have_arrived)
            await kill_children(fleet.transport)
        await hurry(fleet)
        async with fleet.runtime.db.connection() as connection:
            await move_time(connection, timedelta(hours=2))  # nobody will ever know of the others
        counts = await fleet.finished(campaign)
    arrived = [person for person in people if await fleet.texts(person)]
    sent, listed = await recipients(fleet, "sent"), await recipients(fleet, "failed")
    assert set(sent) <= set(arrived), "what is called sent has arrived"
    assert set(arrived) <= {*sent, *listed}, "what is not is listed by name"
    assert counts == {"sent": len(sent)} | ({"failed": len(listed)} if listed else {})
    assert await fleet.control.doubles() == []
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


async def recipients(fleet: LinkedFleet, status: str) -> list[str]:
    """For whom messages with this status are."""
    async with fleet.runtime.db.connection() as connection:
        rows = await connection.fetch(
            "SELECT recipient FROM broadcast_messages WHERE status = $1::text::message_status", status
        )
    return [row["recipient"].removeprefix("+") for row in rows]


async def hurry(fleet: LinkedFleet) -> None:
    """Retries of what did not leave are due now, not in a minute; until all has left, or may have."""

    async def all_has_left() -> bool:
        async with fleet.runtime.db.transaction() as connection:
            await connection.execute(
                "UPDATE broadcast_messages SET not_before = fleetcast_now() WHERE status = 'pending' AND attempts > 0 "
                "AND not_before > fleetcast_now()"
            )
            left: int = await connection.fetchval(
                "SELECT count(*) FROM broadcast_messages WHERE is_open AND status <> 'in_doubt'"
            )
        return left == 0

    await until(all_has_left)


async def test_f36_a_device_that_was_logged_out_on_the_phone_is_linked_again_and_what_waited_goes_out(
    fleet: LinkedFleet,
) -> None:
    owner, person = fresh_number(), fresh_number()
    async with fleet.sender():
        device = await fleet.linked("Shop", owner)
        async with fleet.runtime.db.connection() as connection:
            before = await connection.fetchval("SELECT count(*) FROM linked_sessions")
        (companion,) = (await fleet.control.phone(owner)).companions
        await fleet.control.log_out(companion.name)
        found = await fleet.is_now(device, DeviceState.LOGGED_OUT)
        assert "link it again" in found.state_reason
        campaign = await fleet.campaign("Hello", device, leads={"Shop": [person]})
        again = await fleet.pair(device, owner)
        assert again.phone == f"+{owner}"
        assert await fleet.finished(campaign) == {"sent": 1}
        assert await fleet.texts(person) == [(owner, "Hello")]
        await pairing.log_out(fleet.runtime, fleet.workspace.id, device.id, actor="a person")

        async def is_unlinked() -> bool:
            return (await fleet.control.phone(owner)).companions == ()

        await until(is_unlinked)
        await fleet.pair(device, owner)  # and as often as one likes
        async with fleet.runtime.db.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM linked_sessions") == before == 1


async def test_a_person_who_answers_stop_gets_nothing_more(fleet: LinkedFleet) -> None:
    person = fresh_number()
    async with fleet.sender():
        device = await fleet.linked("Shop", fresh_number())
        first = await fleet.campaign("First", device, leads={"Shop": [person]})
        assert await fleet.finished(first) == {"sent": 1}
        (arrival,) = await fleet.control.arrivals(person)
        await fleet.control.say(person, arrival.sender, "Stop.")

        async def is_suppressed() -> bool:
            async with fleet.runtime.db.connection() as connection:
                return bool(await connection.fetchval("SELECT count(*) FROM suppressions"))

        await until(is_suppressed)
        with pytest.raises(InvalidInput, match="nobody is reached"):
            await fleet.campaign("Second", device, leads={"Shop": [person]})
    assert [text for _, text in await fleet.texts(person)] == ["First"]


def on_another_machine(runtime: Runtime) -> Runtime:
    """The same installation, from a machine with a data directory of its own and the same key of secrets."""
    data = runtime.settings.data / "south"
    data.mkdir()
    shutil.copy(runtime.settings.data / "secret.key", data / "secret.key")
    return replace(runtime, settings=runtime.settings.model_copy(update={"data": data}))


async def test_after_a_clean_stop_another_machine_takes_over_once_its_shards_are_moved_there(
    fleet: LinkedFleet,
) -> None:
    """And the first one does not open the session again, although its file is still there."""
    person, north = fresh_number(), fleet.runtime
    async with fleet.sender():
        device = await fleet.linked("Shop", fresh_number())
    south = fleet.runtime = on_another_machine(north)
    async with fleet.sender():
        there, here = node_id(north.settings.data), node_id(south.settings.data)

        async def is_at_work() -> bool:
            return any(node.id == here and node.is_there for node in await nodes(south))

        await until(is_at_work)
        with pytest.raises(Conflict, match="No sender"):
            await move_node(south, here, there, actor="a person")
        assert await move_node(south, there, here, actor="a person") > 0
        await fleet.is_now(device, DeviceState.ONLINE)
        campaign = await fleet.campaign("From the south", device, leads={"Shop": [person]})
        assert await fleet.finished(campaign) == {"sent": 1}
        account = SessionAccount(north, there)
        assert (await account.admit(device.id, has_file=True)).elsewhere
    assert [text for _, text in await fleet.texts(person)] == ["From the south"]


async def test_a_machine_that_is_lost_is_said_so_and_its_devices_are_linked_anew_elsewhere(fleet: LinkedFleet) -> None:
    north = fleet.runtime
    async with fleet.sender():
        device = await fleet.linked("Shop", fresh_number())
        with pytest.raises(Conflict, match="at work"):
            await lose_node(north, node_id(north.settings.data), actor="a person")
    async with north.db.transaction() as connection:  # it died: no copy was left, and it does not come round any more
        await connection.execute("UPDATE linked_sessions SET handed_over = false, copy = NULL")
        await connection.execute("UPDATE processes SET leasing_at = '-infinity'")
    [concern] = [c for c in (await examine(north)).concerns if c.about == "machines"]
    assert "1 linked device" in concern.sentence
    assert "fleetcast node lost" in concern.sentence
    assert await lose_node(north, node_id(north.settings.data), actor="a person") == 1
    found = await find_device(north, fleet.workspace.id, "Shop")
    assert (found.state, found.state_reason) == (DeviceState.LOGGED_OUT, LOST)
    fleet.runtime = on_another_machine(north)
    async with fleet.sender():
        await fleet.pair(device, fresh_number())


async def message(fleet: LinkedFleet, device: Device, person: str, text: str) -> MessageId:
    asked = SingleSend(device.id, f"+{person}", text)
    return (await send_message(fleet.runtime, fleet.workspace.id, asked, actor="a person")).id


async def story(fleet: LinkedFleet, wanted: MessageId) -> Story:
    return await show_message(fleet.runtime, fleet.workspace.id, wanted)


async def becomes(fleet: LinkedFleet, wanted: MessageId, status: MessageStatus) -> None:
    async def so() -> bool:
        return (await story(fleet, wanted)).message.status is status

    await until(so)


async def test_a_person_of_whom_the_last_message_is_in_doubt_gets_the_next_one_once_that_is_settled(
    fleet: LinkedFleet,
) -> None:
    person, other, owner = fresh_number(), fresh_number(), fresh_number()
    hasty = fleet.runtime.settings.model_copy(update={"send_seconds": 1.0})
    fleet.runtime = replace(fleet.runtime, settings=hasty)
    async with fleet.sender():
        device = await fleet.linked("Shop", owner)
        unknown = Treatment(ack=Ack.NEVER, receipts=Receipts.NONE)
        await fleet.control.treat(unknown, sender=owner, times=1)
        first = await message(fleet, device, person, "One")
        second = await message(fleet, device, person, "Two")
        await becomes(fleet, first, MessageStatus.IN_DOUBT)
        behind = await message(fleet, device, other, "Three")
        await becomes(fleet, behind, MessageStatus.SENT)
        waiting = await story(fleet, second)
        assert (waiting.message.status, waiting.waits_for) == (MessageStatus.PENDING, first)
        assert await fleet.texts(person) == [(owner, "One")], "who waits does not leave"
        await confirm_arrived(fleet.runtime, fleet.workspace.id, [first], actor="a person")
        await becomes(fleet, second, MessageStatus.SENT)
        assert (await story(fleet, second)).waits_for is None
    assert await fleet.texts(person) == [(owner, "One"), (owner, "Two")]
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


async def heard(fleet: LinkedFleet) -> bool:
    async with fleet.runtime.db.connection() as connection:
        return bool(await connection.fetchval("SELECT count(*) FROM inbox WHERE kind = 'reply'"))


async def test_a_number_that_may_begin_nothing_new_answers_who_wrote_and_keeps_all_else(fleet: LinkedFleet) -> None:
    writer, stranger, owner = fresh_number(), fresh_number(), fresh_number()
    async with fleet.sender():
        device = await fleet.linked("Shop", owner)
        await fleet.control.treat(Treatment(error=463), sender=owner, times=1)
        refused = await message(fleet, device, stranger, "Hello")
        locked = await fleet.is_now(device, DeviceState.RESTRICTED)
        assert (locked.is_ready, locked.may_answer) == (False, True)
        (companion,) = (await fleet.control.phone(owner)).companions
        await fleet.control.say(writer, companion.name, "When do you open?")

        await until(lambda: heard(fleet))
        campaign = await fleet.campaign("Sale", device, leads={"Shop": [writer]})
        answer = await message(fleet, device, writer, "At nine")
        await becomes(fleet, answer, MessageStatus.SENT)
        found = await show_campaign(fleet.runtime, fleet.workspace.id, campaign)
        assert found.counts.by_status.get("pending") == 1, "a campaign is no answer, not even to who wrote"
        assert (await story(fleet, refused)).message.status is MessageStatus.PENDING
    assert await fleet.texts(writer) == [(owner, "At nine")]
    assert await fleet.texts(stranger) == []
    async with fleet.runtime.db.connection() as connection:
        assert await broken_invariants(connection) == []


async def test_a_number_that_is_refused_even_an_answer_waits_for_its_end_and_asks_no_more(fleet: LinkedFleet) -> None:
    writer, owner = fresh_number(), fresh_number()
    async with fleet.sender():
        device = await fleet.linked("Shop", owner)
        (companion,) = (await fleet.control.phone(owner)).companions
        await fleet.control.say(writer, companion.name, "Hello?")
        await until(lambda: heard(fleet))
        await fleet.control.treat(Treatment(error=463), sender=owner)
        answer = await message(fleet, device, writer, "Hello")
        locked = await fleet.is_now(device, DeviceState.RESTRICTED)
        assert not locked.may_answer
        async with fleet.runtime.db.connection() as connection:
            await connection.execute("UPDATE broadcast_messages SET not_before = fleetcast_now()")
            assert await shards.room(connection, None) == [], "nobody is given anything"
        assert (await story(fleet, answer)).message.attempts == 1


async def test_no_second_attempt_to_a_person_is_opened_before_the_table_says_how_the_first_one_ended(
    fleet: LinkedFleet,
) -> None:
    """Whatever dies between the two, at most one of them is in doubt."""
    async with fleet.runtime.db.connection() as connection:
        await connection.execute(
            "CREATE TABLE beside (id bigint);"
            "CREATE FUNCTION note_overlap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO beside SELECT id FROM broadcast_messages o WHERE o.device_id = NEW.device_id "
            "AND o.recipient = NEW.recipient AND o.id <> NEW.id AND o.status IN ('sending', 'in_doubt'); "
            "RETURN NULL; END $$;"
            "CREATE TRIGGER note_overlap AFTER UPDATE OF status ON broadcast_messages FOR EACH ROW "
            "WHEN (NEW.status = 'sending') EXECUTE FUNCTION note_overlap()"
        )
    person = fresh_number()
    async with fleet.sender():
        device = await fleet.linked("Shop", fresh_number())
        made = [await message(fleet, device, person, f"{n}") for n in range(20)]
        for each in made:
            await becomes(fleet, each, MessageStatus.SENT)
    async with fleet.runtime.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM beside") == 0
    assert len(await fleet.texts(person)) == 20
