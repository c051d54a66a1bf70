"""`fleetcast enrolment`: put people into a sequence, look where they are, and take them out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fleetcast.cli.content import read_text
from fleetcast.cli.output import emit_json, local_time, number, say, table
from fleetcast.cli.sequence_choice import SequenceArgument, Yes, run_on
from fleetcast.cli.sequence_output import show_people
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.domain.identifiers import EnrolmentId, SequenceId, WorkspaceId
from fleetcast.domain.sequence import EnrolmentState
from fleetcast.domain.timeline import in_words
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services import enrolments, sequences
from fleetcast.services.enrolments import MOST_AT_ONCE, Enrolled, Wanted
from fleetcast.services.workspaces import Workspace, find_workspace

app = typer.Typer(help="People in sequences.", no_args_is_help=True)


@app.command("add")
def add(
    sequence: SequenceArgument,
    numbers: Annotated[list[str] | None, typer.Argument(help="Numbers of leads.")] = None,
    workspace: WorkspaceOption = None,
    file: Annotated[Path | None, typer.Option(help="A file with a number in the first column of each line.")] = None,
    existing: Annotated[bool, typer.Option("--existing", help="Instead: all leads that there are and fit.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also who was in it before.")] = False,
    yes: Yes = False,
    as_json: JsonOption = False,
) -> None:
    """Put people into a sequence: by number, from a file, or all that fit."""
    if existing:
        if numbers or file:
            raise InvalidInput("existing", "give numbers or --existing, not both")
        _enrol_existing(workspace, sequence, yes=yes, as_json=as_json)
        return
    wanted = [*(numbers or ()), *(_numbers_in(file) if file else ())]
    if not wanted:
        raise InvalidInput("numbers", "name at least one, or give --file or --existing")

    async def work(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> list[Enrolled]:
        return [
            await enrolments.enrol_people(
                runtime,
                workspace_id,
                sequence_id,
                phones=wanted[first : first + MOST_AT_ONCE],
                again=again,
                actor=person(),
            )
            for first in range(0, len(wanted), MOST_AT_ONCE)
        ]

    _, done = run_on(workspace, sequence, work)
    sums: dict[str, Any] = {
        "enrolled": sum(len(each.enrolled) for each in done),
        **{name: sum(getattr(each, name) for each in done) for name in ("active", "before", "unwritable", "unknown")},
    }
    if as_json:
        emit_json(sums)
        return
    said = {
        "enrolled": "enrolled",
        "active": "in it already",
        "before": "were in it before (--again)",
        "unwritable": "may not be written to",
        "unknown": "no leads of this workspace",
    }
    table(("people", ""), [(words, number(sums[name])) for name, words in said.items()], right=("",))


def _enrol_existing(workspace: str | None, sequence: str, *, yes: bool, as_json: bool) -> None:
    _, people = run_on(workspace, sequence, enrolments.count_existing)
    if people and not yes:
        typer.confirm(f"{number(people)} people fit; enrol them?", abort=True, err=True)
    _, begun = run_on(
        workspace, sequence, lambda r, w, s: enrolments.enrol_existing(r, w, s, confirmed=people, actor=person())
    )
    if as_json:
        emit_json(begun)
    else:
        say(f"{number(people)} people are being enrolled.")


def _numbers_in(file: Path) -> list[str]:
    """The first cell of each line; what has no digit is a header."""
    cells = (line.replace(";", ",").split(",")[0].strip().strip('"') for line in read_text("file", file).splitlines())
    return [cell for cell in cells if any(c.isdigit() for c in cell)]


@app.command("list")
def show_all(
    sequence: SequenceArgument,
    workspace: WorkspaceOption = None,
    state: Annotated[EnrolmentState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Who is or was in a sequence."""

    async def work(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> Any:
        shown = await sequences.show_sequence(runtime, workspace_id, sequence_id)
        found, _ = await enrolments.page_of_enrolments(runtime, workspace_id, sequence_id, Wanted(state), limit=limit)
        return {step.id: step.place for step in shown.steps}, found

    where, (places, found) = run_on(workspace, sequence, work)
    if as_json:
        emit_json(found)
    elif not found:
        say("Nobody is in it. Put somebody in with `fleetcast enrolment add`.")
    else:
        show_people(found, places, where.time_zone)


@app.command("stop")
def stop(
    sequence: SequenceArgument,
    who: Annotated[list[int], typer.Argument(metavar="ENROLMENT...", help="Numbers as `list` shows them.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take people out of a sequence. What is on its way to them at this moment arrives."""
    ids = [EnrolmentId(each) for each in who]
    _, stopped = run_on(workspace, sequence, lambda r, w, s: enrolments.stop_enrolments(r, w, s, ids, actor=person()))
    if as_json:
        emit_json({"stopped": stopped})
    else:
        say(f"{number(stopped)} of {number(len(ids))} were in it and are stopped.")


@app.command("show")
def show(
    enrolment: Annotated[int, typer.Argument(help="Its number, as `list` shows it.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """One person's way through a sequence, step by step."""

    async def work(runtime: Runtime) -> tuple[Workspace, enrolments.EnrolmentStory]:
        where = await find_workspace(runtime, workspace)
        return where, await enrolments.show_enrolment(runtime, where.id, EnrolmentId(enrolment))

    where, found = with_runtime(work)
    if as_json:
        emit_json(found)
        return
    e = found.enrolment
    why = f" ({e.stop_reason})" if e.stop_reason else ""
    say(f"{e.phone} {e.name} is {e.state}{why} in sequence {e.sequence_id}.")
    table(
        ("step", "when", "what", "at"),
        [
            (
                s.step.place,
                in_words(s.step.timing, s.step.place),
                s.message.status if s.message else "-",
                local_time(s.at, where.time_zone),
            )
            for s in found.steps
        ],
        right=("step",),
    )
