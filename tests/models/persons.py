"""What persons do: sell, change their minds, take devices away and bring them back, decide about doubts, say stop."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import Phone
from fleetcast.services.campaign_actions import (
    cancel_campaign,
    launch_campaign,
    pause_campaign,
    resume_campaign,
    retry_campaign,
    retry_unconfirmed,
)
from fleetcast.services.campaigns import create_campaign, edit_campaign
from fleetcast.services.devices import pause_device, remove_device, resume_device, set_state
from fleetcast.services.doubts import confirm_arrived, give_up, resend
from fleetcast.services.inbound import receive
from fleetcast.services.restore import after_restore
from fleetcast.services.suppressions import lift_suppression
from fleetcast.store import shards
from fleetcast.store.connection import Connection
from fleetcast.transports.base import Reply
from tests.models.play import ACTOR, PEOPLE, Play, Sale, index, pick

MOST_SALES = 3
MOST_DEVICES = 4
TEXTS = ("Hello {{ name }}", "Hello {{ name | default: 'friend' }}")
people = st.sampled_from(PEOPLE)


class Persons(Play):
    """The rules of people: the operator and the recipients."""

    # -- campaigns

    @precondition(lambda self: len(self.sales) < MOST_SALES)
    @rule(text=st.sampled_from(TEXTS), deadline=st.sampled_from(("7d", "2h")), offline=st.sampled_from(("wait", "skip")))
    def launch(self, text: str, deadline: str, offline: str) -> None:
        word = f"[{len(self.sales) + 1}]"

        async def work() -> None:
            made = await create_campaign(
                self.runtime,
                self.workspace.id,
                {"title": f"Sale {word}", "body": f"{word} {text}", "deadline": deadline, "when_offline": offline},
                actor=ACTOR,
            )
            await launch_campaign(self.runtime, self.workspace.id, made.id, actor=ACTOR)
            reach = {device: set(self.leads[device]) for device in self.live}
            self.sales.append(Sale(made.id, word, reach))

        self.try_to(work())

    @precondition(lambda self: self.sales)
    @rule(at=index, what=st.sampled_from((pause_campaign, resume_campaign)))
    def pause_or_resume(self, at: int, what: type) -> None:
        self.try_to(what(self.runtime, self.workspace.id, pick(self.sales, at).id, actor=ACTOR))

    @precondition(lambda self: self.sales)
    @rule(at=index)
    def cancel(self, at: int) -> None:
        sale = pick(self.sales, at)
        if self.try_to(cancel_campaign(self.runtime, self.workspace.id, sale.id, actor=ACTOR)):
            sale.is_cancelled = True

    @precondition(lambda self: self.sales)
    @rule(at=index, text=st.sampled_from(TEXTS), deadline=st.sampled_from((None, "3h", "9d")))
    def edit(self, at: int, text: str, deadline: str | None) -> None:
        """The text, which a running campaign refuses; or the deadline."""
        sale = pick(self.sales, at)
        change = {"body": f"{sale.word} New: {text}"} if deadline is None else {"deadline": deadline}
        done = edit_campaign(self.runtime, self.workspace.id, sale.id, change, actor=ACTOR)  # type: ignore[arg-type]
        if self.try_to(done) and deadline is None:
            self.judge.edited.add(sale.id)

    @precondition(lambda self: self.sales)
    @rule(at=index)
    def retry(self, at: int) -> None:
        self.judge.may_reopen = True
        self.try_to(retry_campaign(self.runtime, self.workspace.id, pick(self.sales, at).id, actor=ACTOR))

    # -- doubt

    @precondition(lambda self: self.sales)
    @rule(at=index)
    def retry_what_is_unconfirmed(self, at: int) -> None:
        found = self.with_connection(lambda c: self.messages(c, "failed", reason="unconfirmed"))
        if not found:
            return
        row = pick(found, at)
        self.judge.may_reopen = True
        asked = retry_unconfirmed(self.runtime, self.workspace.id, row["campaign_id"], [row["id"]], actor=ACTOR)
        if self.try_to(asked):
            self.judge.again.add((self.words[row["campaign_id"]], row["recipient"]))

    @precondition(lambda self: self.sales)
    @rule(at=index, what=st.sampled_from((confirm_arrived, give_up, resend)))
    def decide_about_a_doubt(self, at: int, what: type) -> None:
        found = self.with_connection(lambda c: self.messages(c, "in_doubt"))
        if not found:
            return
        row = pick(found, at)
        if self.try_to(what(self.runtime, self.workspace.id, [row["id"]], actor=ACTOR)) and what is resend:
            self.judge.again.add((self.words[row["campaign_id"]], row["recipient"]))

    # -- devices

    @rule(at=index, state=st.sampled_from((DeviceState.ONLINE, DeviceState.OFFLINE, DeviceState.BANNED)))
    def a_connection_changes(self, at: int, state: DeviceState) -> None:
        self.drive(set_state(self.runtime, pick(self.devices, at), state, "because"))

    @rule(at=index, what=st.sampled_from((pause_device, resume_device)))
    def pause_or_resume_a_device(self, at: int, what: type) -> None:
        self.try_to(what(self.runtime, self.workspace.id, pick(self.live, at), actor=ACTOR))

    @precondition(lambda self: len(self.live) > 1)
    @rule(at=index)
    def remove_a_device(self, at: int) -> None:
        device = pick(self.live, at)
        self.drive(remove_device(self.runtime, self.workspace.id, device, actor=ACTOR))
        self.removed.add(device)

    @precondition(lambda self: len(self.devices) < MOST_DEVICES)
    @rule(delay=st.sampled_from((0.0, 20.0)))
    def a_new_device(self, delay: float) -> None:
        self.drive(self.new_device(delay))

    @rule(at=index, who=st.lists(people, min_size=1, max_size=3, unique=True))
    def import_leads(self, at: int, who: list[Phone]) -> None:
        self.drive(self.import_people(pick(self.live, at), who))

    # -- stops

    @rule(who=people, at=index)
    def a_stop_word(self, who: Phone, at: int) -> None:
        self.drive(self.stop(who, at))

    async def stop(self, who: Phone, at: int) -> None:
        """A reply to one of the devices."""
        self.stopped.add(who)
        async with self.runtime.db.connection() as connection:
            now = await connection.fetchval("SELECT fleetcast_now()")
        reply = Reply(f"reply-{next(self.numbers)}", pick(self.devices, at), who, "STOP", now)
        await receive(self.runtime, self.install, [reply])

    @rule(who=people)
    def a_person_is_let_back(self, who: Phone) -> None:
        self.try_to(lift_suppression(self.runtime, self.workspace, who, actor=ACTOR))

    # -- the installation

    @rule()
    def restored_from_a_backup(self) -> None:
        """Everything is stopped first; the processes of before are gone, though a zombie may not know it."""

        async def release(connection: Connection) -> None:
            for sender in self.senders:
                await shards.release(connection, sender.name)

        self.with_connection(release)
        self.try_to(after_restore(self.runtime, actor=ACTOR))
