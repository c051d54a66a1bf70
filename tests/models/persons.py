"""What persons do: sell, change their minds, take devices away and bring them back, decide about doubts, say stop."""

from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from fleetcast.domain.device import DeviceState
from fleetcast.domain.identifiers import Phone
from fleetcast.services.campaign_actions import (
    cancel_campaign,
    pause_campaign,
    resume_campaign,
    retry_campaign,
    retry_unconfirmed,
)
from fleetcast.services.campaigns import edit_campaign
from fleetcast.services.devices import pause_device, remove_device, resume_device, set_state
from fleetcast.services.doubts import confirm_arrived, give_up, resend
from fleetcast.services.inbound import receive
from fleetcast.services.restore import after_restore
from fleetcast.services.suppressions import lift_suppression
from fleetcast.store import shards
from fleetcast.store.connection import Connection
from fleetcast.transports.base import Reply
from tests.models.play import ACTOR, PEOPLE, TEXTS, Play, index, pick

MOST_SALES = 3
MOST_DEVICES = 4
MOST_STOPS = 2
WISHES: dict[str, Callable[..., Coroutine[Any, Any, object]]] = {
    "pause": pause_campaign,
    "resume": resume_campaign,
    "retry": retry_campaign,
    "cancel": cancel_campaign,
}
DECISIONS: dict[str, Callable[..., Coroutine[Any, Any, object]]] = {
    "it arrived": confirm_arrived,
    "give up": give_up,
    "send again": resend,
}
people = st.sampled_from(PEOPLE)
some_people = st.lists(people, min_size=1, max_size=3, unique=True)


class Persons(Play):
    """The rules of people: the operator and the recipients."""

    # -- campaigns

    @precondition(lambda self: len(self.sales) < MOST_SALES)
    @rule(
        text=st.sampled_from(TEXTS), deadline=st.sampled_from(("7d", "2h")), offline=st.sampled_from(("wait", "skip"))
    )
    def launch(self, text: str, deadline: str, offline: str) -> None:
        self.try_to(self.new_sale(text, deadline, offline))

    @rule(at=index, what=st.sampled_from(tuple(WISHES)))
    def a_wish_about_a_campaign(self, at: int, what: str) -> None:
        sale = pick(self.sales, at)
        if what == "cancel" and any(s.is_cancelled for s in self.sales):
            return
        self.judge.may_reopen = what == "retry"
        granted = self.try_to(WISHES[what](self.runtime, self.workspace.id, sale.id, actor=ACTOR))
        sale.is_cancelled = sale.is_cancelled or (what == "cancel" and granted is not None)

    @precondition(lambda self: len(self.judge.edited) < 2)
    @rule(at=index, text=st.sampled_from(TEXTS), deadline=st.sampled_from((None, "3h", "9d")))
    def edit(self, at: int, text: str, deadline: str | None) -> None:
        """The text, which a running campaign refuses; or the deadline."""
        sale = pick(self.sales, at)
        change = {"body": f"{sale.word} New: {text}"} if deadline is None else {"deadline": deadline}
        done = edit_campaign(self.runtime, self.workspace.id, sale.id, change, actor=ACTOR)  # type: ignore[arg-type]
        if self.try_to(done) and deadline is None:
            self.judge.edited.add(sale.id)

    # -- doubt

    @precondition(lambda self: self.any("failed", "unconfirmed"))
    @rule(at=index)
    def retry_what_is_unconfirmed(self, at: int) -> None:
        found = self.with_connection(lambda c: self.messages(c, "failed", reason="unconfirmed"))
        row = pick(found, at)
        self.judge.may_reopen = True
        asked = retry_unconfirmed(self.runtime, self.workspace.id, row["campaign_id"], [row["id"]], actor=ACTOR)
        if self.try_to(asked):
            self.world.again.add((self.words[row["campaign_id"]], row["recipient"]))

    @precondition(lambda self: self.any("in_doubt"))
    @rule(at=index, what=st.sampled_from(tuple(DECISIONS)))
    def decide_about_a_doubt(self, at: int, what: str) -> None:
        found = self.with_connection(lambda c: self.messages(c, "in_doubt"))
        row = pick(found, at)
        decision = DECISIONS[what](self.runtime, self.workspace.id, [row["id"]], actor=ACTOR)
        if self.try_to(decision) and what == "send again":
            self.world.again.add((self.words[row["campaign_id"]], row["recipient"]))

    # -- devices

    @rule(at=index, state=st.sampled_from((DeviceState.ONLINE, DeviceState.OFFLINE, DeviceState.BANNED)))
    def a_connection_changes(self, at: int, state: DeviceState) -> None:
        self.drive(set_state(self.runtime, pick(self.devices, at), state, "because"))

    @rule(at=index, what=st.sampled_from(("pause", "resume", "resume", "remove", "add", "add leads")), who=some_people)
    def a_wish_about_a_device(self, at: int, what: str, who: list[Phone]) -> None:
        device = pick(self.live, at)
        if what == "pause":
            self.drive(pause_device(self.runtime, self.workspace.id, device, actor=ACTOR))
        elif what == "resume":
            self.drive(resume_device(self.runtime, self.workspace.id, device, actor=ACTOR))
        elif what == "remove" and not self.removed:
            self.drive(remove_device(self.runtime, self.workspace.id, device, actor=ACTOR))
            self.removed.add(device)
        elif what == "add" and len(self.devices) < MOST_DEVICES:
            self.drive(self.new_device(20.0 if at % 2 else 0.0))
        else:
            self.drive(self.import_people(device, who))

    # -- stops

    @precondition(lambda self: len(self.stopped) < MOST_STOPS)
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

    @precondition(lambda self: self.stopped)
    @rule(at=index)
    def a_person_is_let_back(self, at: int) -> None:
        who = pick(sorted(self.stopped), at)
        self.try_to(lift_suppression(self.runtime, self.workspace, who, actor=ACTOR))

    # -- the installation

    @precondition(lambda self: not self.is_restored and self.any("sending"))
    @rule()
    def restored_from_a_backup(self) -> None:
        """Everything is stopped first; the processes of before are gone, though a zombie may not know it."""

        self.is_restored = True

        async def release(connection: Connection) -> None:
            for sender in self.senders:
                await shards.release(connection, sender.name)

        self.with_connection(release)
        self.try_to(after_restore(self.runtime, actor=ACTOR))
