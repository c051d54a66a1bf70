"""The figures of the fleet as Prometheus reads them: which there are, what each is called, what it means.

The one place that knows the format, and every name; `docs/metrics.md` lists the same, and a test compares the two. A
figure that a process reports under another name (an older or newer version) is left out. Labels are processes, kinds,
loops and statuses: never a phone number, a workspace or a device.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from fleetcast.domain.scaling import wanted_senders
from fleetcast.services.liveness import is_alive
from fleetcast.services.metrics import Reading
from fleetcast.store.processes import Process

CONTENT_TYPE = CONTENT_TYPE_LATEST
KINDS = ("scheduler", "sender", "web")
_BY_PROCESS = ("process", "kind")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that processes report of themselves."""

    type: Literal["gauge", "counter"]
    metric: str
    meaning: str
    label: str | None = None
    """What stands behind the colon of its name."""


FIGURES: dict[str, Figure] = {
    "busy": Figure("gauge", "fleetcast_busy_cores", "Share of one CPU core used between its last two beats."),
    "memory": Figure("gauge", "fleetcast_memory_bytes", "Resident memory."),
    "age": Figure("gauge", "fleetcast_loop_age_seconds", "Since the loop last moved.", "loop"),
    "claims": Figure("counter", "fleetcast_claims", "Messages claimed and committed: attempts that may begin."),
    "claim_commits": Figure("counter", "fleetcast_claim_commits", "Group commits of claims."),
    "claims_refused": Figure(
        "counter",
        "fleetcast_claims_refused",
        "Messages whose claim was refused: a stale or wrong hint, a pause, a stop word.",
    ),
    "dropped": Figure(
        "counter",
        "fleetcast_dropped",
        "Entries of Redis that could not be read, or were about nothing of ours.",
        "what",
    ),
    "results": Figure("counter", "fleetcast_results", "Results of attempts committed."),
    "result_commits": Figure("counter", "fleetcast_result_commits", "Group commits of results."),
    "under_way": Figure("gauge", "fleetcast_attempts_under_way", "Attempts that wait for their answer."),
    "overdue": Figure(
        "gauge", "fleetcast_overdue_seconds", "How long the device that is due for longest waits to be claimed for."
    ),
    "waiting": Figure(
        "gauge", "fleetcast_shard_waiting", "Messages that stand in the windows of the shard's devices.", "shard"
    ),
    "late": Figure(
        "gauge",
        "fleetcast_shard_late_seconds",
        "How long the message that is due for longest in the shard could have been sent already.",
        "shard",
    ),
    "leases_held": Figure("gauge", "fleetcast_leases_held", "Shards that the sender believes to hold."),
    "leases_gained": Figure("counter", "fleetcast_leases_gained", "Shards gained."),
    "leases_lost": Figure("counter", "fleetcast_leases_lost", "Shards lost or given back."),
    "resumes": Figure(
        "counter",
        "fleetcast_resumes",
        "How often the sender went on after trouble: claims whose answer was lost, results that were not taken at "
        "first, a spool of an earlier sender.",
        "after",
    ),
    "planned": Figure("counter", "fleetcast_planned", "Messages planned."),
    "queued": Figure("counter", "fleetcast_queued", "Messages put into the windows of their devices."),
    "sequence_steps": Figure("counter", "fleetcast_sequence_steps", "Steps of sequences that were due and taken up."),
    "dispatches": Figure("counter", "fleetcast_dispatches", "Statements that filled windows."),
    "sweeps": Figure("counter", "fleetcast_sweeps", "Rounds of the sweeper."),
    "history_looks": Figure("counter", "fleetcast_history_looks", "Looks of the historian, one in 20 seconds."),
    "orphans": Figure("counter", "fleetcast_orphans", "Messages that lost senders had left in mid-attempt."),
}

LATENESS = "fleetcast_lateness_seconds"


def render(reading: Reading) -> bytes:
    """The text that a scrape gets, of type `CONTENT_TYPE`."""
    registry = CollectorRegistry()
    registry.register(_Fleet(reading))
    return generate_latest(registry)


class _Fleet(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        """Every family, also those without a sample."""
        yield from _presence(self._reading)
        living = [p for p in self._reading.processes if is_alive(p)]
        for name, figure in FIGURES.items():
            yield _family(name, figure, living)
        yield _lateness(living)
        yield from _counted(self._reading)


def _presence(reading: Reading) -> Iterable[Metric]:
    living = GaugeMetricFamily("fleetcast_processes", "Processes that were heard of lately.", labels=["kind"])
    for kind in sorted({*KINDS, *(p.kind for p in reading.processes)}):
        living.add_metric([kind], sum(p.kind == kind and is_alive(p) for p in reading.processes))
    silent = GaugeMetricFamily(
        "fleetcast_process_silent_seconds",
        "Since the process was heard of; those that did not sign off stay until they are replaced and forgotten.",
        labels=_BY_PROCESS,
    )
    started = GaugeMetricFamily(
        "fleetcast_process_start_time_seconds", "When it started, in Unix seconds.", labels=_BY_PROCESS
    )
    stuck = GaugeMetricFamily("fleetcast_loops_stuck", "Loops of the process that stand still.", labels=_BY_PROCESS)
    for process in reading.processes:
        labels = [process.name, process.kind]
        silent.add_metric(labels, process.silent)
        started.add_metric(labels, process.started_at.timestamp())
        if is_alive(process):
            stuck.add_metric(labels, len(process.stuck))
    troubles = GaugeMetricFamily(
        "fleetcast_troubles", "Processes for which /ready fails: a loop stands still, or the last of its kind is gone."
    )
    troubles.add_metric([], len(reading.troubles))
    wanted = GaugeMetricFamily(
        "fleetcast_senders_wanted", "Senders that the fleet wants, by the shares of a core that its senders use."
    )
    wanted.add_metric([], wanted_senders(_busy(reading)))
    return living, silent, started, stuck, troubles, wanted


def _busy(reading: Reading) -> Iterator[float]:
    return (p.figures.get("busy", 0.0) for p in reading.processes if p.kind == "sender" and is_alive(p))


def _family(name: str, figure: Figure, living: list[Process]) -> Metric:
    labels = [*_BY_PROCESS, *([figure.label] if figure.label else [])]
    make = GaugeMetricFamily if figure.type == "gauge" else CounterMetricFamily
    family = make(figure.metric, figure.meaning, labels=labels)
    for process in living:
        for key, value in process.figures.items():
            stem, _, label = key.partition(":")
            if stem == name and bool(label) == bool(figure.label):
                family.add_metric([process.name, process.kind, *([label] if label else [])], value)
    return family


def _lateness(living: list[Process]) -> Metric:
    family = HistogramMetricFamily(
        LATENESS, "From when an attempt could have started to when it was claimed.", labels=_BY_PROCESS
    )
    for process in living:
        buckets = [
            (key.partition(":")[2], value) for key, value in process.figures.items() if key.startswith("lateness:")
        ]
        if buckets:
            buckets.sort(key=lambda bucket: float(bucket[0]))  # jsonb keeps an order of its own
            family.add_metric([process.name, process.kind], buckets, process.figures.get("lateness_sum", 0.0))
    return family


def _counted(reading: Reading) -> Iterator[Metric]:
    counted = reading.gauges
    messages = GaugeMetricFamily("fleetcast_messages", "Messages of campaigns that are open.", labels=["status"])
    for status, n in counted.open.items():
        messages.add_metric([status], n)
    yield messages
    leases = GaugeMetricFamily("fleetcast_leases", "Shards by the sender that holds them.", labels=["process"])
    for owner, n in sorted(counted.leases.items()):
        leases.add_metric([owner], n)
    yield leases
    if reading.queue_age is not None:
        yield GaugeMetricFamily(
            "fleetcast_queue_age_seconds",
            "How long a message in front of a queue of a ready device waits at most.",
            reading.queue_age,
        )
    yield GaugeMetricFamily(
        "fleetcast_in_doubt_age_seconds", "Of the message in doubt for longest.", counted.in_doubt_age
    )
    yield GaugeMetricFamily("fleetcast_shards_unowned", "Shards that no sender holds.", counted.shards_unowned)
    yield GaugeMetricFamily("fleetcast_inbox_waiting", "Events that wait for their message.", counted.inbox_waiting)
    yield GaugeMetricFamily(
        "fleetcast_inbox_age_seconds", "Of the event that has waited for longest.", counted.inbox_age
    )
