"""Whether the processes that should work do: the rule by which a loop that stands still, or a lost process, is told.

One rule for `/ready`, the first page and the figures. It reads nothing but what processes say of themselves in
`processes`:

- A process that was heard of within `SILENT_SECONDS` lives. If it says that loops of its own stand still, that is
  trouble.
- One that was not, and did not sign off, is gone: killed, cut off, or blocked so that it cannot even say so. That is
  trouble only while no other of its kind lives: others take over what it did, and a process that was started in its
  place has another name. The one that was heard of last is told.
- What signed off, or never was there, is nobody's trouble: a person stopped it, or it runs nowhere on purpose. Who has
  campaigns under way is told of it all the same (`missing`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetcast.store.processes import Process

SILENT_SECONDS = 15.0
"""Seven beats missed."""
NEEDED = ("scheduler", "sender")
"""Kinds of processes that campaigns need."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One process that does not do its work."""

    process: str
    kind: str
    loops: tuple[tuple[str, float], ...]
    """(loop, seconds without a move) of those that stand still; none: the process is gone."""
    silent: float
    """Seconds since it was heard of."""

    def __str__(self) -> str:
        """A sentence for a person."""
        if not self.loops:
            return f"The {self.kind} was not heard of for {self.silent:.0f} seconds, and there is no other."
        named = ", ".join(f"{loop} for {seconds:.0f} seconds" for loop, seconds in self.loops)
        return f"Loops of the {self.kind} stand still: {named}."


def is_alive(process: Process) -> bool:
    """Whether it was heard of lately."""
    return process.silent <= SILENT_SECONDS


def troubles(known: Sequence[Process]) -> list[Trouble]:
    """What is wrong with the processes that are known."""
    found = [
        Trouble(p.name, p.kind, tuple((loop, p.figures.get(f"age:{loop}", 0.0)) for loop in p.stuck), p.silent)
        for p in known
        if p.stuck and is_alive(p)
    ]
    for kind in sorted({p.kind for p in known}):
        last = min((p for p in known if p.kind == kind), key=lambda p: p.silent)
        if not is_alive(last):
            found.append(Trouble(last.name, kind, (), last.silent))
    return found


def missing(known: Sequence[Process]) -> list[str]:
    """Kinds without which nothing goes out, and of which none lives or is told as lost."""
    told = {trouble.kind for trouble in troubles(known)}
    return [kind for kind in NEEDED if kind not in told and not any(p.kind == kind and is_alive(p) for p in known)]
