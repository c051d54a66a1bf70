"""Which loops make a process: the sender's and the scheduler's.

The sender stops in stages: claims first, so that answers on their way can still be committed, then results, then the
leases, and what comes in; its presence last.
"""

import asyncio
import gc
import socket
from collections.abc import Mapping
from functools import partial
from random import Random

import structlog

from fleetcast.domain.device import TransportKind
from fleetcast.embedded.data_directory import node_id, sessions_folder
from fleetcast.engine import inbox
from fleetcast.engine.bulk_editor import BulkEditor
from fleetcast.engine.dispatcher import Dispatcher
from fleetcast.engine.historian import Historian
from fleetcast.engine.inbox import Inbox
from fleetcast.engine.planner import Planner
from fleetcast.engine.presence import PATIENCE_SECONDS, Presence
from fleetcast.engine.reconciler import Reconciler
from fleetcast.engine.retention import Retention
from fleetcast.engine.sender import Sender
from fleetcast.engine.sequencer import Sequencer
from fleetcast.engine.supervisor import Supervisor
from fleetcast.engine.sweeper import Sweeper
from fleetcast.errors import Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.linked_sessions import SessionAccount
from fleetcast.store import devices, identity
from fleetcast.transports.base import Transport
from fleetcast.transports.registry import TRANSPORTS, Ground

log = structlog.get_logger()

Transports = Mapping[TransportKind, Transport]


def build_transports(runtime: Runtime, install: str, node: str) -> dict[TransportKind, Transport]:
    """One of each kind that this version has."""
    ground = Ground(
        runtime.simulator_socket,
        sessions_folder(runtime.settings.data, install),
        SessionAccount(runtime, node),
        runtime.settings.linked_per_process,
    )
    return {kind: build(ground) for kind, build in TRANSPORTS.items()}


YOUNG_OBJECTS = 50_000
"""Containers made before Python looks for rings among them; some ten megabytes at most wait for that."""


def _seldom_collect_garbage() -> None:
    """Messages come by hundreds and leave no rings of references behind: looking for some every 700 objects, as
    Python does by itself, was a tenth of a sender's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


async def _install(runtime: Runtime) -> str:
    async with runtime.db.connection() as connection:
        return await identity.install_id(connection)


async def _started(runtime: Runtime, transports: Transports) -> Transports:
    """The transports that run now: all of which there are devices, and others where they can.

    Raises Unavailable: without one of them devices would be cut off.
    """
    running: dict[TransportKind, Transport] = {}
    try:
        for kind, transport in transports.items():
            try:
                await transport.start()
            except Unavailable as error:
                async with runtime.db.connection() as connection:
                    if await devices.are_there(connection, kind):
                        raise
                log.info("there is no device of this kind, and it does not run", transport=kind, why=str(error))
                continue
            running[kind] = transport
    except BaseException:
        for transport in running.values():
            await transport.stop()
        raise
    return running


async def run_sender(
    runtime: Runtime,
    *,
    random: Random | None = None,
    transports: Transports | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """A sender until SIGTERM or SIGINT, or until `stop`. `transports`: others than the registry's."""
    install = await _install(runtime)
    node = node_id(runtime.settings.data)
    using = build_transports(runtime, install, node) if transports is None else transports
    async with runtime.db.connection() as connection:
        await identity.note_node(connection, node, socket.gethostname())
    using = await _started(runtime, using)
    sender = Sender(runtime, using, install, node, random or Random())
    log.info("sender starts", sender=sender.name)
    _seldom_collect_garbage()
    try:
        loops = Supervisor("sender", patience=PATIENCE_SECONDS)
        Presence(runtime, loops, "sender", sender.name, sender.figures)
        for kind, transport in using.items():
            loops.add(
                f"inbox {kind}", Inbox(runtime, transport, install, sender.session_lost, sender.pairings.hear).run
            )
        loops.add("leases", sender.leases.run, stage=1)
        loops.add("results", sender.results.run, stage=2)
        intake = {
            "reread": sender.intake.reread,
            "hints": sender.intake.read_hints,
            "nudges": sender.intake.follow_nudges,
            "asks": sender.intake.ask,
            "pairings": sender.pairings.run,
            "claims": sender.claim,
        }
        for name, loop in intake.items():
            loops.add(name, loop, stage=3)
        await loops.run(stop)
    finally:
        await sender.leases.release()
        for transport in using.values():
            await transport.stop()


async def run_scheduler(
    runtime: Runtime, *, transports: Transports | None = None, stop: asyncio.Event | None = None
) -> None:
    """The loops that keep campaigns, sequences, changes of many and the tables going until SIGTERM or SIGINT, or until
    `stop`.
    """
    install = await _install(runtime)
    using = transports
    if using is None:
        using = build_transports(runtime, install, node_id(runtime.settings.data))
    using = await _started(runtime, using)
    try:
        planner, dispatcher, sequencer = Planner(runtime), Dispatcher(runtime), Sequencer(runtime)
        sweeper = Sweeper(runtime, {kind: t.grace for kind, t in using.items()})
        historian = Historian(runtime)

        def figures() -> dict[str, float]:
            return {
                "planned": planner.planned,
                "queued": dispatcher.queued,
                "sequence_steps": sequencer.due,
                "dispatches": dispatcher.statements,
                "sweeps": sweeper.rounds,
                "orphans": sweeper.orphans,
                "history_looks": historian.looks,
                "dropped:asks": dispatcher.dropped_asks,
                "dropped:nudges": sum(loop.dropped_nudges for loop in (planner, dispatcher, sweeper, sequencer)),
            }

        loops = Supervisor("scheduler", patience=PATIENCE_SECONDS)
        Presence(runtime, loops, "scheduler", figures=figures)
        loops.add("reconciler", Reconciler(runtime, using).run)
        loops.add("evidence", partial(inbox.settle, runtime, install))
        loops.add("sweeper", sweeper.run)
        loops.add("historian", historian.run)
        loops.add("retention", Retention(runtime).run)
        loops.add("changes of many", BulkEditor(runtime).run)
        loops.add("fill", dispatcher.fill)
        loops.add("recount", dispatcher.recount)
        loops.add("asks", dispatcher.listen_to_senders)
        loops.add("nudges", dispatcher.listen_to_nudges)
        loops.add("planner", planner.run)
        loops.add("sequencer", sequencer.run)
        await loops.run(stop)
    finally:
        for transport in using.values():
            await transport.stop()
