"""`fleetcast sequence`: make a sequence, give it steps, set it in motion, hold it and look what became of it.

People in sequences are `fleetcast enrolment`'s.
"""

from pathlib import Path
from typing import Annotated

import typer

from fleetcast.cli.content import Body, BodyFile, Media, NoMedia, content_fields
from fleetcast.cli.output import emit_json, number, say, table
from fleetcast.cli.reach import Match, MaxDelay, MinDelay, Target
from fleetcast.cli.sequence_choice import SequenceArgument, Yes, run_on
from fleetcast.cli.sequence_output import show_report, show_sequence
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.domain.identifiers import SequenceId, StepId, WorkspaceId
from fleetcast.domain.sequence import FailureRule
from fleetcast.domain.timeline import in_words
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services import enrolments, sequence_actions, sequence_steps, sequences
from fleetcast.services.sequence_fields import SequenceFields, StepFields
from fleetcast.services.sequence_reports import report_sequence
from fleetcast.services.sequences import Sequence
from fleetcast.services.workspaces import find_workspace

app = typer.Typer(help="Sequences: steps that reach each person in order, at their own time.", no_args_is_help=True)

Niche = Annotated[list[str] | None, typer.Option(help="A whole niche name; repeat it for several.")]
Auto = Annotated[
    bool | None, typer.Option("--auto/--no-auto", help="Whether new leads of its niches come in by themselves.")
]
Failure = Annotated[FailureRule | None, typer.Option(help="After a step that was not sent: continue, retry, stop.")]
LateBy = Annotated[str | None, typer.Option(help="How late a step may still go out: 12h (default), 90m, 2d.")]
OnReply = Annotated[bool | None, typer.Option("--stop-on-reply/--no-stop-on-reply", help="Default: stop.")]
OnConversion = Annotated[
    bool | None,
    typer.Option(
        "--stop-on-conversion/--no-stop-on-conversion", help="When prospects become customers. Default: stop."
    ),
]
Day = Annotated[int | None, typer.Option(help="The day; 0 is the one on which somebody begins.")]
Time = Annotated[str | None, typer.Option(help="On the person's clock: 09:00.")]
After = Annotated[str | None, typer.Option(help="Instead: so long after the step before: 3h, 90m, 2d.")]
StepArgument = Annotated[int, typer.Argument(help="Its place, from 1.")]


def _fields(**given: object) -> SequenceFields:
    return {name: value for name, value in given.items() if value is not None}  # type: ignore[return-value]


def _step_fields(body_file: Path | None, media: str | None, **given: object) -> StepFields:
    return content_fields(body_file, media, **given)  # type: ignore[return-value]


def _tell(sequence: Sequence, as_json: bool, sentence: str) -> None:
    if as_json:
        emit_json(sequence)
    else:
        say(f"Sequence {sequence.id} '{sequence.name}' {sentence}")


def _tell_step(step: sequences.Step, as_json: bool) -> None:
    if as_json:
        emit_json(step)
    else:
        say(f"Step {step.place} comes {in_words(step.timing, step.place)}.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="A name for yourself; recipients never see it.")],
    workspace: WorkspaceOption = None,
    niche: Niche = None,
    niche_match: Match = None,
    target_status: Target = None,
    auto: Auto = None,
    min_delay: MinDelay = None,
    max_delay: MaxDelay = None,
    on_failure: Failure = None,
    late_by: LateBy = None,
    stop_on_reply: OnReply = None,
    stop_on_conversion: OnConversion = None,
    as_json: JsonOption = False,
) -> None:
    """Make a draft without steps. Nothing is sent before it is activated."""
    fields = _fields(
        name=name,
        niches=niche,
        niche_match=niche_match,
        target_status=target_status,
        auto_enrol=auto,
        min_delay=min_delay,
        max_delay=max_delay,
        on_failure=on_failure,
        late_by=late_by,
        stop_on_reply=stop_on_reply,
        stop_on_conversion=stop_on_conversion,
    )

    async def work(runtime: Runtime) -> Sequence:
        where = await find_workspace(runtime, workspace)
        return await sequences.create_sequence(runtime, where.id, fields, actor=person())

    made = with_runtime(work)
    _tell(made, as_json, f"is a draft. Add steps with `fleetcast sequence add-step {made.id}`, then activate it.")


@app.command("edit")
def edit(
    sequence: SequenceArgument,
    workspace: WorkspaceOption = None,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    niche: Niche = None,
    nobody: Annotated[bool, typer.Option("--no-niche", help="Take the niches away; nobody comes in by one.")] = False,
    niche_match: Match = None,
    target_status: Target = None,
    auto: Auto = None,
    min_delay: MinDelay = None,
    max_delay: MaxDelay = None,
    own_pace: Annotated[bool, typer.Option("--own-pace", help="Go back to each device's own pace.")] = False,
    on_failure: Failure = None,
    late_by: LateBy = None,
    stop_on_reply: OnReply = None,
    stop_on_conversion: OnConversion = None,
    as_json: JsonOption = False,
) -> None:
    """Change what is given and nothing else; it holds from now on, also for who is in it."""
    if nobody and niche:
        raise InvalidInput("niches", "cannot be given and taken away at once")
    fields = _fields(
        name=name,
        niches=[] if nobody else niche,
        niche_match=niche_match,
        target_status=target_status,
        auto_enrol=auto,
        min_delay=min_delay,
        max_delay=max_delay,
        on_failure=on_failure,
        late_by=late_by,
        stop_on_reply=stop_on_reply,
        stop_on_conversion=stop_on_conversion,
    )
    if own_pace:
        if min_delay is not None or max_delay is not None:
            raise InvalidInput("min_delay", "cannot be given and taken away at once")
        fields["min_delay"] = fields["max_delay"] = None
    if not fields:
        raise InvalidInput("sequence", "say what to change; see --help")
    _, after = run_on(workspace, sequence, lambda r, w, s: sequences.edit_sequence(r, w, s, fields, actor=person()))
    _tell(after, as_json, "is changed.")


@app.command("list")
def show_all(
    workspace: WorkspaceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """The newest sequences."""

    async def work(runtime: Runtime) -> list[tuple[Sequence, sequences.People]]:
        where = await find_workspace(runtime, workspace)
        return (await sequences.page_of_sequences(runtime, where.id, limit=limit))[0]

    found = with_runtime(work)
    if as_json:
        emit_json([{"sequence": s, "people": p, "enrolled": p.enrolled} for s, p in found])
        return
    if not found:
        say("There is no sequence yet. Make one with `fleetcast sequence create NAME`.")
        return
    counts = ("enrolled", "active", "completed", "stopped")
    rows = [(s.id, s.name, s.status, *(number(getattr(p, each)) for each in counts)) for s, p in found]
    table(("id", "name", "status", *counts), rows, right=("id", *counts))


@app.command("show")
def show(sequence: SequenceArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """One sequence: settings, steps, how many people are where."""
    where, found = run_on(workspace, sequence, sequences.show_sequence)
    if as_json:
        emit_json(found)
    else:
        show_sequence(found, where.time_zone)


@app.command("report")
def report(sequence: SequenceArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """What became of it: step by step and device by device."""
    _, found = run_on(workspace, sequence, report_sequence)
    if as_json:
        emit_json(found)
    else:
        show_report(found)


@app.command("preview")
def preview(sequence: SequenceArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """When each step would come to somebody who is enrolled now, by the workspace's clock."""
    _, found = run_on(workspace, sequence, sequence_steps.preview_steps)
    if as_json:
        emit_json([{"step": c.step.id, "place": c.step.place, "at": c.at} for c in found])
        return
    table(
        ("step", "comes", "says"),
        [(c.step.place, f"{c.at:%a %Y-%m-%d %H:%M %Z}", c.step.content.body.split("\n")[0][:60]) for c in found],
        right=("step",),
    )


# -- steps


@app.command("add-step")
def add_step(
    sequence: SequenceArgument,
    workspace: WorkspaceOption = None,
    day: Day = None,
    time: Time = None,
    after: After = None,
    body: Body = None,
    body_file: BodyFile = None,
    media: Media = None,
    before: Annotated[int | None, typer.Option(help="In front of the step at this place; without: behind all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add a step: at a time of a day, or so long after the step before."""
    fields = _step_fields(body_file, media, day=day, time=time, after=after, body=body)

    async def work(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> sequences.Step:
        place = None if before is None else await _step_at(runtime, workspace_id, sequence_id, before)
        return await sequence_steps.add_step(runtime, workspace_id, sequence_id, fields, before=place, actor=person())

    _, made = run_on(workspace, sequence, work)
    _tell_step(made, as_json)


@app.command("edit-step")
def edit_step(
    sequence: SequenceArgument,
    step: StepArgument,
    workspace: WorkspaceOption = None,
    day: Day = None,
    time: Time = None,
    after: After = None,
    body: Body = None,
    body_file: BodyFile = None,
    media: Media = None,
    no_media: NoMedia = False,
    as_json: JsonOption = False,
) -> None:
    """Change a step for everybody who does not have it yet."""
    if no_media and media is not None:
        raise InvalidInput("media", "cannot be given and taken away at once")
    fields = _step_fields(body_file, media, day=day, time=time, after=after, body=body)
    if no_media:
        fields["media"] = None
    if not fields:
        raise InvalidInput("step", "say what to change; see --help")

    async def work(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> sequences.Step:
        which = await _step_at(runtime, workspace_id, sequence_id, step)
        return await sequence_steps.edit_step(runtime, workspace_id, sequence_id, which, fields, actor=person())

    _, changed = run_on(workspace, sequence, work)
    _tell_step(changed, as_json)


@app.command("delete-step")
def delete_step(
    sequence: SequenceArgument,
    step: StepArgument,
    workspace: WorkspaceOption = None,
    yes: Yes = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a step. Who is at it goes on with the next one."""

    async def look(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId) -> tuple[StepId, int]:
        which = await _step_at(runtime, workspace_id, sequence_id, step)
        shown = await sequences.show_sequence(runtime, workspace_id, sequence_id)
        return which, shown.at_step.get(which, 0)

    _, (which, people) = run_on(workspace, sequence, look)
    if people and not yes:
        typer.confirm(f"{number(people)} people are at this step; delete it?", abort=True, err=True)
    _, gone = run_on(
        workspace,
        sequence,
        lambda r, w, s: sequence_steps.delete_step(r, w, s, which, confirmed=people, actor=person()),
    )
    if as_json:
        emit_json({"people": gone})
    else:
        say(f"Step {step} is deleted; {number(gone)} people go on with the next one.")


async def _step_at(runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, place: int) -> StepId:
    shown = await sequences.show_sequence(runtime, workspace_id, sequence_id)
    for step in shown.steps:
        if step.place == place:
            return step.id
    raise InvalidInput("step", f"there are {len(shown.steps)} steps in this sequence, and none at place {place}")


# -- in motion


@app.command("activate")
def activate(
    sequence: SequenceArgument,
    workspace: WorkspaceOption = None,
    existing: Annotated[bool, typer.Option("--existing", help="Enrol also the leads that there are and fit.")] = False,
    even_offline: Annotated[bool, typer.Option("--even-offline", help="Also while no device is online.")] = False,
    yes: Yes = False,
    as_json: JsonOption = False,
) -> None:
    """Set a draft in motion."""
    people = None
    if existing:
        _, people = run_on(workspace, sequence, enrolments.count_existing)
        if not yes:
            typer.confirm(f"{number(people)} people fit; enrol them?", abort=True, err=True)
    _, after = run_on(
        workspace,
        sequence,
        lambda r, w, s: sequence_actions.activate_sequence(
            r, w, s, enrol_existing=people, even_offline=even_offline, actor=person()
        ),
    )
    _tell(after, as_json, "is active." + (f" {number(people)} people are being enrolled." if people else ""))


@app.command("pause")
def pause(
    sequence: SequenceArgument,
    workspace: WorkspaceOption = None,
    reason: Annotated[str | None, typer.Option(help="Why, for others.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold an active sequence."""
    _, after = run_on(
        workspace, sequence, lambda r, w, s: sequence_actions.pause_sequence(r, w, s, reason=reason, actor=person())
    )
    _tell(after, as_json, "is paused.")


@app.command("resume")
def resume(sequence: SequenceArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Let a paused sequence go on. What is later than its window by now has expired."""
    _, after = run_on(workspace, sequence, lambda r, w, s: sequence_actions.resume_sequence(r, w, s, actor=person()))
    _tell(after, as_json, "is active again.")


@app.command("archive")
def archive(
    sequence: SequenceArgument, workspace: WorkspaceOption = None, yes: Yes = False, as_json: JsonOption = False
) -> None:
    """End a sequence for good: everybody in it is stopped."""
    _, shown = run_on(workspace, sequence, sequences.show_sequence)
    people = shown.people.active
    if people and not yes:
        typer.confirm(f"{number(people)} people get nothing more of it; archive it?", abort=True, err=True)
    _, after = run_on(
        workspace,
        sequence,
        lambda r, w, s: sequence_actions.archive_sequence(r, w, s, confirmed=people, actor=person()),
    )
    _tell(after, as_json, f"is archived; {number(people)} people are being stopped.")


@app.command("clone")
def clone(sequence: SequenceArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """A new draft with the same steps, audience, pace and rules."""
    _, made = run_on(workspace, sequence, lambda r, w, s: sequences.clone_sequence(r, w, s, actor=person()))
    _tell(made, as_json, "is a draft.")
