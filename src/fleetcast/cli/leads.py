"""`fleetcast leads`: files of people in and out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fleetcast.cli.output import emit_json, errors, number, say, table
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services.devices import find_device
from fleetcast.services.lead_export import export_leads
from fleetcast.services.lead_import import ImportProgress, ImportReport, import_leads
from fleetcast.services.workspaces import find_workspace

app = typer.Typer(help="Leads: the people who are written to.", no_args_is_help=True)

PROBLEMS_SHOWN = 20


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
    device: str,
    workspace: str | None = None,
    sheet: str | None = None,
    dry_run: bool = False,
    consent: str | None = None,
    rejected: Path | None = None,
) -> ImportReport:
    """Import a file into the named device with a progress bar."""
    where = await find_workspace(runtime, workspace)
    target = await find_device(runtime, where.id, device)
    with _bar(f"Reading {file.name}") as (bar, task):

        def show(progress: ImportProgress) -> None:
            what = "Merging" if progress.merging else f"Reading {file.name}"
            bar.update(
                task, completed=progress.bytes_read, total=progress.size, rows=number(progress.rows), description=what
            )

        return await import_leads(
            runtime,
            where.id,
            target.id,
            file,
            sheet=sheet,
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

        return await export_leads(runtime, where.id, source, sys.stdout if output is None else output, show)


def _show(report: ImportReport, file: Path, rejected: Path | None) -> None:
    kind = f"the sheet '{report.sheet}'" if report.sheet else f"separated by {report.delimiter}"
    say(f"{file.name}: {report.encoding}, {kind}.")
    table(["column", "becomes"], [(k, v or "(left out)") for k, v in report.columns.items()])
    say("Nothing was written; this is what an import would do:" if report.dry_run else "Imported:", style="bold")
    counts = (
        ("new leads", report.added),
        ("leads changed", report.merged),
        ("leads already so", report.unchanged),
        ("rows merged into another row of the file", report.duplicates),
        ("rows rejected", report.rejected),
        ("rows in all", report.rows),
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
    file: Annotated[Path, typer.Argument(help="CSV or Excel (.xlsx) with headings, one the phone.", metavar="FILE")],
    device: Annotated[str, typer.Option("--device", "-d", help="Name of the device that writes to these people.")],
    workspace: WorkspaceOption = None,
    sheet: Annotated[str | None, typer.Option(help="Which sheet of a workbook; else the first.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    consent: Annotated[
        str | None, typer.Option(help="Where everybody in the file agreed to be written to, in words.")
    ] = None,
    rejected: Annotated[Path | None, typer.Option(help="Write rejected rows to this file, with the reason.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Import leads from a CSV file or an Excel workbook. Good rows go in together, bad rows are listed.

    Numbers without a country code are read with the device's country, else the workspace's. A lead that is there
    already keeps what the file does not say. Exit code 2 when there were rows and none could be used.
    """
    report = with_runtime(
        lambda runtime: import_command(
            runtime,
            file,
            device=device,
            workspace=workspace,
            sheet=sheet,
            dry_run=dry_run,
            consent=consent,
            rejected=rejected,
        )
    )
    if as_json:
        emit_json(report)
    else:
        _show(report, file, rejected)
    if report.rejected and report.rejected == report.rows:
        raise typer.Exit(InvalidInput.exit_code)


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
