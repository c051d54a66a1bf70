"""`fleetcast leads`: files of people in and out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fleetcast.cli.output import emit_json, errors, number, say, table
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.domain.lead import CONSENT_WORD, Lead, lead_variables
from fleetcast.domain.lead_columns import mapping_from
from fleetcast.domain.lead_imports import LeadImport
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.devices import find_device
from fleetcast.services.lead_export import export_leads
from fleetcast.services.lead_import import import_leads, resume_import
from fleetcast.services.lead_imports import discard_import, list_imports
from fleetcast.services.lead_preview import ROWS, LeadPreview, preview_leads
from fleetcast.services.lead_report import ImportProgress, ImportReport
from fleetcast.services.workspaces import find_workspace

app = typer.Typer(help="Leads: the people who are written to.", no_args_is_help=True)

PROBLEMS_SHOWN = 20

FileArgument = Annotated[
    Path, typer.Argument(help="CSV or Excel (.xlsx) with headings, one the phone.", metavar="FILE")
]
SheetOption = Annotated[str | None, typer.Option(help="Which sheet of a workbook; else the first.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=HEADING", help='Which column is what: phone="Mobile No"; -=Internal ignores.'),
]


def mapping_of(words: list[str] | None) -> dict[str, str] | None:
    """Fields by heading; None without any. Raises InvalidInput."""
    return mapping_from(words or (), "--map") or None


@contextmanager
def _bar(what: str) -> Iterator[tuple[Progress, TaskID]]:
    """A progress bar on a terminal, nothing anywhere else; on stderr, so that stdout stays what was asked for."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        yield bar, bar.add_task(what, total=None, rows="0")


async def import_command(
    runtime: Runtime,
    file: Path,
    *,
    device: str | None = None,
    resume: int | None = None,
    workspace: str | None = None,
    sheet: str | None = None,
    mapping: dict[str, str] | None = None,
    all_or_nothing: bool = False,
    dry_run: bool = False,
    consent: str | None = None,
    rejected: Path | None = None,
) -> ImportReport:
    """Import a file into the named device, or go on with import `resume`, with a progress bar."""
    where = await find_workspace(runtime, workspace)
    target = None if resume is not None else await find_device(runtime, where.id, device or "")
    with _bar(f"Reading {file.name}") as (bar, task):
        told = False

        def show(progress: ImportProgress) -> None:
            nonlocal told
            if progress.resumed_at and not told:
                told = True
                errors.print(f"Going on with import {progress.import_id} after row {number(progress.resumed_at)}.")
            what = "Merging" if progress.merging else f"Reading {file.name}"
            bar.update(
                task, completed=progress.bytes_read, total=progress.size, rows=number(progress.rows), description=what
            )

        if target is None:
            return await resume_import(
                runtime, where.id, resume or 0, file, rejected_path=rejected, progress=show, actor=person()
            )
        return await import_leads(
            runtime,
            where.id,
            target.id,
            file,
            sheet=sheet,
            mapping=mapping,
            all_or_nothing=all_or_nothing,
            dry_run=dry_run,
            consent_source=consent,
            rejected_path=rejected,
            progress=show,
            actor=person(),
        )


async def export_command(
    runtime: Runtime, *, output: Path | None, device: str | None = None, workspace: str | None = None
) -> int:
    """Export the leads of a device, or of all, to a file or to stdout (None). Returns how many."""
    where = await find_workspace(runtime, workspace)
    source = None if device is None else (await find_device(runtime, where.id, device)).id
    with _bar("Writing leads") as (bar, task):

        def show(written: int, total: int) -> None:
            bar.update(task, completed=written, total=total, rows=number(written))

        return await export_leads(
            runtime, where.id, source, sys.stdout if output is None else output, show, actor=person()
        )


def _show_file(found: ImportReport | LeadPreview, file: Path) -> None:
    kind = f"the sheet '{found.sheet}'" if found.sheet else f"separated by {found.delimiter}"
    say(f"{file.name}: {found.encoding}, {kind}.")
    table(["column", "becomes"], [(k, v or "(left out)") for k, v in found.columns.items()])


def _show(report: ImportReport, file: Path, rejected: Path | None) -> None:
    _show_file(report, file)
    if report.refused:
        say("Nothing was written, because rows were rejected; without them the import would do this:", style="bold")
    else:
        say("Nothing was written; this is what an import would do:" if report.dry_run else "Imported:", style="bold")
    counts = (
        ("new leads", report.added),
        ("leads changed", report.merged),
        ("leads already so", report.unchanged),
        ("rows merged into another row of the file", report.duplicates),
        ("rows rejected", report.rejected),
        ("rows in all", report.rows),
        *([("waiting messages to people who refuse, skipped", report.skipped)] if report.skipped else []),
    )
    table(["", "count"], [(what, number(many)) for what, many in counts], right=["count"])
    if report.problems:
        shown = report.problems[:PROBLEMS_SHOWN]
        table(["line", "column", "why it was rejected"], [(p.line, p.column, p.reason) for p in shown], right=["line"])
        if report.rejected > len(shown):
            say(f"… and {number(report.rejected - len(shown))} more.")
        say(
            f"All rejected rows are in {rejected}: correct and import that file."
            if rejected
            else "With --rejected FILE all rejected rows go into a file that can be corrected and imported."
        )


@app.command("import")
def import_file(
    file: FileArgument,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Name of the device that writes to these people.")
    ] = None,
    resume: Annotated[
        int | None, typer.Option(metavar="ID", help="Go on with this import, with the options it was started with.")
    ] = None,
    workspace: WorkspaceOption = None,
    sheet: SheetOption = None,
    mapping: MapOption = None,
    all_or_nothing: Annotated[
        bool, typer.Option("--all-or-nothing", help="Write nothing if a single row is rejected.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    consent: Annotated[
        str | None, typer.Option(help="Where everybody in the file agreed to be written to, in words.")
    ] = None,
    rejected: Annotated[Path | None, typer.Option(help="Write rejected rows to this file, with the reason.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Import leads from a CSV file or an Excel workbook. Good rows go in together, bad rows are listed.

    Numbers without a country code are read with the device's country, else the workspace's. A lead that is there
    already keeps what the file does not say. An import that was cut short goes on where it was. Exit code 2 when
    there were rows and none could be used, or, with --all-or-nothing, when a single one could not.
    """
    if resume is not None and (device or sheet or mapping or all_or_nothing or dry_run or consent):
        raise InvalidInput("--resume", "an import keeps what it was started with: give only FILE and --rejected")
    if resume is None and device is None:
        raise InvalidInput("--device", "say which device writes to these people")
    report = with_runtime(
        lambda runtime: import_command(
            runtime,
            file,
            device=device,
            resume=resume,
            workspace=workspace,
            sheet=sheet,
            mapping=mapping_of(mapping),
            all_or_nothing=all_or_nothing,
            dry_run=dry_run,
            consent=consent,
            rejected=rejected,
        )
    )
    if as_json:
        emit_json(report)
    else:
        _show(report, file, rejected)
    if report.refused or (report.rejected and report.rejected == report.rows):
        raise typer.Exit(InvalidInput.exit_code)


@app.command("imports")
def imports(
    discard: Annotated[int | None, typer.Option(metavar="ID", help="Give up this unfinished import.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List imports, the newest first: how far they are, and which were cut short and can be gone on with."""

    async def work(runtime: Runtime) -> list[LeadImport]:
        where = await find_workspace(runtime, workspace)
        if discard is not None:
            await discard_import(runtime, where.id, discard, actor=person())
        return await list_imports(runtime, where.id)

    found = with_runtime(work)
    if as_json:
        emit_json([asdict(each) | {"percent": each.percent} for each in found])
        return
    headers = ["id", "file", "device", "status", "read", "accepted", "rejected", "started"]
    rows = [
        (
            each.id,
            each.filename,
            each.device,
            each.status.value if each.running or each.finished_at else "cut short",
            f"{each.percent} %",
            number(each.accepted),
            number(each.rejected),
            each.started_at.strftime("%Y-%m-%d %H:%M %Z"),
        )
        for each in found
    ]
    table(headers, rows, right=["id", "read", "accepted", "rejected"])
    short = [each for each in found if not each.running and not each.finished_at]
    if short:
        say(
            f"Go on: fleetcast leads import --resume {short[0].id} FILE; give up: leads imports --discard {short[0].id}"
        )


async def _preview(
    runtime: Runtime,
    file: Path,
    device: str | None,
    workspace: str | None,
    sheet: str | None,
    mapping: dict[str, str] | None,
    rows: int,
) -> LeadPreview:
    where = await find_workspace(runtime, workspace)
    target = None if device is None else (await find_device(runtime, where.id, device)).id
    return await preview_leads(runtime, where.id, target, file, sheet=sheet, mapping=mapping, rows=rows)


@app.command("preview")
def preview_file(
    file: FileArgument,
    device: Annotated[str | None, typer.Option("--device", "-d", help="Whose country numbers are read with.")] = None,
    workspace: WorkspaceOption = None,
    sheet: SheetOption = None,
    mapping: MapOption = None,
    rows: Annotated[int, typer.Option(help="How many rows to show.")] = ROWS,
    as_json: JsonOption = False,
) -> None:
    """Show what a lead file is taken for: encoding, columns, and its first rows as they would be stored."""
    found = with_runtime(lambda runtime: _preview(runtime, file, device, workspace, sheet, mapping_of(mapping), rows))
    if as_json:
        emit_json(found)
        return
    _show_file(found, file)
    if len(found.sheets) > 1:
        say(f"Other sheets: {', '.join(found.sheets[1:])}. Choose with --sheet.")
    fields = [field for field in found.columns.values() if field]
    stored = [[row.line, *_fields(row.lead, fields)] for row in found.rows if row.lead]
    table(["line", *fields], stored, right=["line"])
    wrong = [row.problem for row in found.rows if row.problem]
    if wrong:
        table(
            ["line", "column", "why it would be rejected"],
            [(p.line, p.column, p.reason) for p in wrong],
            right=["line"],
        )
    if found.more:
        say("… and more rows.")


def _fields(lead: Lead, fields: list[str]) -> list[str]:
    variables = lead_variables(lead) | {"time_zone": lead.time_zone or "", "consent": CONSENT_WORD[lead.consent]}
    return [variables.get(field, "") for field in fields]


@app.command("export")
def export_file(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; - for standard output.")] = Path(
        "-"
    ),
    device: Annotated[str | None, typer.Option("--device", "-d", help="Only leads of this device.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export leads as CSV, safe to open in a spreadsheet and ready to be imported again.

    Cells that a spreadsheet would run, and phone numbers, begin with an apostrophe; the import takes it off.
    """
    to_stdout = output == Path("-")
    if as_json and to_stdout:
        raise InvalidInput("--json", "needs --output FILE: standard output already carries the leads")
    written = with_runtime(
        lambda runtime: export_command(
            runtime, output=None if to_stdout else output, device=device, workspace=workspace
        )
    )
    if as_json:
        emit_json({"output": output, "leads": written})
    elif not to_stdout:
        say(f"{number(written)} leads are in {output}.")
