"""Requests that the description of the API allows, and many that it does not, sent to a running server.

Separate from the long proof because the tests send the same ones, fewer. What is made of a seed is the same again on
the same description and data.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

SHOWN = 600
"""Characters of a finding that are shown."""
CHECKS = {
    # The schema cannot say every rule: that min_delay is at most max_delay, that a name is free.
    "positive_data_acceptance": {"enabled": False},
}
Betters = Callable[[Any], None]
"""Makes a drawn request a likelier one, in place. It is given schemathesis's `Case`."""
Spares = Callable[[Any], bool]
"""Whether a request must not be sent, such as one that ends the attack itself. It is given schemathesis's `Case`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer that breaks a promise."""

    operation: str
    check: str
    what: str
    request: str
    """A command that asks the same."""

    def __str__(self) -> str:
        return f"{self.operation}: {self.check}: {self.what}\n    {self.request}"


@dataclass(slots=True)
class Fuzzed:
    """What was asked and what was found."""

    answers: dict[str, Counter[int]] = field(default_factory=dict)
    """Statuses of each operation."""
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    """The first of each kind."""

    @property
    def requests(self) -> int:
        """How many were answered."""
        return sum(counts.total() for counts in self.answers.values())

    def never_let_in(self, operations: Iterable[str]) -> list[str]:
        """Operations whose inner parts were not seen: no request was accepted, or refused because of how things stand
        (409).
        """
        return [name for name in operations if not any(s < 300 or s == 409 for s in self.answers.get(name, ()))]

    def take(self, other: "Fuzzed") -> None:
        """Add what another attack found."""
        for name, counts in other.answers.items():
            self.answers.setdefault(name, Counter()).update(counts)
        for finding in other.findings.values():
            self.add(finding)

    def add(self, finding: Finding) -> None:
        """Keep the first of its kind."""
        self.findings.setdefault((finding.operation, finding.check), finding)


def operations(description: Mapping[str, Any]) -> list[str]:
    """Every operation, as `POST /devices`."""
    return [f"{method.upper()} {path}" for path, each in description["paths"].items() for method in each]


def attack(
    description: dict[str, Any],
    url: str,
    headers: Mapping[str, str],
    *,
    seed: int,
    examples: int,
    phases: Sequence[str] = ("examples", "coverage", "fuzzing", "stateful"),
    only: Sequence[str] = (),
    betters: Betters = lambda case: None,
    spares: Spares = lambda case: False,
    tell: Callable[[str], None] = lambda text: None,
) -> Fuzzed:
    """Send about `examples` requests of each kind to each operation of the API at `url`. Blocks: give it a thread."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "base-url": url,
            "headers": dict(headers),
            "continue-on-failure": True,
            "cache": {"enabled": False},
            "generation": {
                "max-examples": examples,
                "database": "none",
                "no-shrink": True,
                "with-security-parameters": False,  # a drawn cookie would take the place of the session's
            },
            "checks": CHECKS,
            "phases": {name: {"enabled": name in phases} for name in ("examples", "coverage", "fuzzing", "stateful")},
            "suppress-health-check": ["all"],
            "request-timeout": 60.0,
        }
    )
    whole = schemathesis.openapi.from_dict(description, config=config)
    schema = whole.include(name=list(only)) if only else whole

    @schema.hook
    def filter_case(context: object, case: Any) -> bool:
        return not spares(case)

    @schemathesis.hook  # it knows this one only for all schemas at once
    def before_call(context: object, case: Any, kwargs: object) -> None:
        betters(case)

    fuzzed = Fuzzed()
    try:
        for event in from_schema(schema).execute():
            if isinstance(event, events.PhaseStarted):
                tell(f"{event.phase.name.name.lower()}: {fuzzed.requests:,} requests so far")
            elif isinstance(event, events.ScenarioFinished):
                _note(fuzzed, event.recorder)
            elif isinstance(event, events.NonFatalError):
                fuzzed.add(Finding(event.label, "error", str(event.value)[:SHOWN], ""))
            elif isinstance(event, events.FatalError):
                raise event.exception
    finally:
        schemathesis.hooks.unregister(before_call)
    return fuzzed


def _note(fuzzed: Fuzzed, recorder: ScenarioRecorder) -> None:
    for case_id, interaction in recorder.interactions.items():
        operation = recorder.cases[case_id].value.operation.label
        if interaction.response is not None:
            fuzzed.answers.setdefault(operation, Counter())[interaction.response.status_code] += 1
        for check in recorder.checks.get(case_id, ()):
            if check.failure_info is not None:
                failure = check.failure_info.failure
                what = " ".join(f"{failure.title}: {failure.message}".split())[:SHOWN]
                fuzzed.add(Finding(operation, check.name, what, check.failure_info.code_sample[:SHOWN]))
