"""Imports of lead files: jobs that read a file in the background and can be watched."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api import problems
from fleetcast.api.guard import Caller, GuardedRoute, Open, needs, own_device
from fleetcast.api.leads import CSV, OneDevice
from fleetcast.api.paging import After, Id, Limit, Page
from fleetcast.domain import lead_imports as domain
from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import DeviceId
from fleetcast.domain.lead import Consent, LeadStatus
from fleetcast.domain.lead_columns import MAX_COLUMNS, mapping_from
from fleetcast.domain.lead_imports import ImportStatus
from fleetcast.errors import InvalidInput
from fleetcast.services.import_jobs import ImportJobs, ReadAs
from fleetcast.services.lead_imports import get_import, page_of_imports
from fleetcast.services.lead_preview import MAX_ROWS, ROWS, LeadPreview
from fleetcast.services.suppressions import LONGEST_NOTE
from fleetcast.settings import Settings

router = APIRouter(route_class=GuardedRoute, tags=["lead imports"])

PROBLEMS_SHOWN = 100
FILE_TYPES = ("text/csv", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")


def _content(request: Request) -> AsyncIterator[bytes]:
    """The file. Raises InvalidInput for a form, whose first line would be taken for the headings."""
    if request.headers.get("Content-Type", "").lower().startswith("multipart/"):
        raise InvalidInput("file", "send it as the content of the request, not as a form: curl --data-binary @FILE")
    return request.stream()


def _jobs(request: Request) -> ImportJobs:
    jobs: ImportJobs = request.app.state.import_jobs
    return jobs


Jobs = Annotated[ImportJobs, Depends(_jobs)]


def _read_as(
    sheet: Annotated[str | None, Query(max_length=100, description="Of a workbook; without it its first one.")] = None,
    map_: Annotated[
        list[Annotated[str, Field(max_length=400)]] | None,
        Query(
            alias="map",
            max_length=MAX_COLUMNS,
            description="Which column is what, as often as needed: `phone=Mobile 2`; `-=Internal` leaves one out.",
            examples=[["phone=Mobile 2"]],
        ),
    ] = None,
) -> ReadAs:
    return ReadAs(sheet=sheet, mapping=mapping_from(map_ or (), "map") or None)


How = Annotated[ReadAs, Depends(_read_as)]
"""How the file is read."""


def import_bytes(settings: Settings) -> int:
    """The most bytes of a file."""
    return settings.import_max_bytes


class RowProblem(BaseModel):
    """A row that was refused."""

    model_config = ConfigDict(from_attributes=True)

    line: int = Field(description="Of the file, from 1.")
    column: str = Field(description="Its heading; empty where the whole row is at fault.")
    reason: str


class ImportCounts(BaseModel):
    """What an import did: rows = added + merged + unchanged + duplicates + rejected."""

    rows: int = Field(description="That are not blank, the headings not counted.")
    added: int = Field(description="New leads.")
    merged: int = Field(description="Stored leads that changed.")
    unchanged: int = Field(description="Stored leads that were already so.")
    duplicates: int = Field(description="Rows that went into another row of the file with the same phone.")
    rejected: int
    skipped: int = Field(
        default=0, description="Messages that waited for people who refuse in this file, and do not leave any more."
    )


class LeadImport(BaseModel):
    """One import."""

    id: int
    device_id: int
    device: str = Field(description="Its name.")
    filename: str = Field(description="As it was given: a label.")
    status: ImportStatus = Field(
        description="`staging`: waits or is being read; `merging`; `done`; `failed`: nothing was written, see `error`; "
        "`abandoned`: discarded."
    )
    running: bool = Field(description="A process is at it in this moment.")
    size: int = Field(description="Bytes to be read; of a workbook, unpacked.")
    bytes_read: int
    percent: int = Field(description="Of the file that is read; merging comes after it.")
    accepted: int = Field(description="Rows so far.")
    rejected: int = Field(description="Rows so far.")
    counts: ImportCounts | None = Field(description="Once it is done.")
    error: str | None = Field(description="Why it failed.")
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, found: domain.LeadImport) -> Self:
        """As it is shown."""
        return cls.model_validate(_facts(found))


class LeadImportDetails(LeadImport):
    """One import, with the rows that it refused."""

    problems: list[RowProblem] = Field(
        description=f"The first {PROBLEMS_SHOWN} refused rows; all of them are at `rejected`, for a day."
    )

    @classmethod
    def of(cls, found: domain.LeadImport) -> Self:
        """As it is shown."""
        problems = [RowProblem.model_validate(problem) for problem in found.problems[:PROBLEMS_SHOWN]]
        return cls.model_validate(_facts(found) | {"problems": problems})


def _facts(found: domain.LeadImport) -> dict[str, Any]:
    names = ("id", "device_id", "device", "filename", "status", "running", "size", "bytes_read", "percent", "accepted")
    times = ("started_at", "updated_at", "finished_at")
    return {name: getattr(found, name) for name in (*names, "rejected", *times)} | {
        "counts": found.report if found.status is ImportStatus.DONE else None,
        "error": _error(found.report) if found.status is ImportStatus.FAILED else None,
    }


def _error(report: Mapping[str, Any] | None) -> str:
    if report and report.get("refused"):
        return "Rows were refused, and it was to be all or nothing: nothing was written."
    return str((report or {}).get("error", "The import was ended."))


class PreviewedLead(BaseModel):
    """The lead that a row would become."""

    model_config = ConfigDict(from_attributes=True)

    phone: str
    name: str
    niches: list[str]
    target_status: LeadStatus | None
    journey: str
    time_zone: str | None
    consent: Consent
    attributes: dict[str, str]


class PreviewedRow(BaseModel):
    """One row: a lead, or why it would be refused."""

    model_config = ConfigDict(from_attributes=True)

    line: int
    lead: PreviewedLead | None
    problem: RowProblem | None


class Preview(BaseModel):
    """What a file was found to be, and its first rows as they would be stored."""

    model_config = ConfigDict(from_attributes=True)

    encoding: str = Field(examples=["utf-8-sig"])
    delimiter: str = Field(examples=["comma"])
    sheet: str | None
    sheets: list[str] = Field(description="All sheets of a workbook, the one that would be read first.")
    columns: dict[str, str] = Field(description="Each heading and what it is taken for; empty: left out.")
    rows: list[PreviewedRow]
    more: bool = Field(description="The file has further rows.")


class ImportCheck(BaseModel):
    """What an import of a file would do now."""

    model_config = ConfigDict(from_attributes=True)

    counts: ImportCounts
    columns: dict[str, str] = Field(description="Each heading and what it is taken for; empty: left out.")
    problems: list[RowProblem] = Field(description=f"The first {PROBLEMS_SHOWN} rows that would be refused.")


@router.post(
    "/devices/{device_id}/lead-imports",
    status_code=202,
    **needs(Scope.SEND, device="device_id", streams=True, takes=FILE_TYPES, largest=import_bytes),
)
async def start_import(
    device_id: Id,
    request: Request,
    access: Caller,
    jobs: Jobs,
    response: Response,
    how: How,
    filename: Annotated[str, Query(max_length=1_000, description="A label for people.")] = "",
    all_or_nothing: Annotated[bool, Query(description="Write nothing if a single row is refused.")] = False,
    consent: Annotated[
        str | None, Query(max_length=LONGEST_NOTE, description="Where everybody in the file agreed, in words.")
    ] = None,
) -> LeadImport:
    """Import a CSV file or an Excel workbook, sent as the content of the request; its bytes say which it is.

    The answer comes when the file is here and its headings are understood; watch the import at `Location`. It goes on
    by itself when the server is started anew.
    """
    made = await jobs.accept(
        access.workspace_id,
        DeviceId(device_id),
        _content(request),
        filename=filename,
        read_as=how,
        all_or_nothing=all_or_nothing,
        consent_source=consent,
        actor=access.actor,
    )
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/lead-imports/{made.id}"
    return LeadImport.of(made)


@router.post(
    "/devices/{device_id}/lead-imports/preview",
    **needs(Scope.SEND, device="device_id", streams=True, takes=FILE_TYPES, largest=import_bytes),
)
async def preview_import(
    device_id: Id,
    request: Request,
    access: Caller,
    jobs: Jobs,
    how: How,
    rows: Annotated[int, Query(ge=1, le=MAX_ROWS, description="How many to show.")] = ROWS,
    filename: Annotated[str, Query(max_length=1_000, description="As for the import; not looked at.")] = "",
) -> Preview:
    """See what a file would be taken for. Nothing is kept of it."""
    found: LeadPreview = await jobs.preview(access.workspace_id, DeviceId(device_id), _content(request), rows, how)
    return Preview.model_validate(found)


@router.post(
    "/devices/{device_id}/lead-imports/check",
    **needs(Scope.SEND, device="device_id", streams=True, takes=FILE_TYPES, largest=import_bytes),
)
async def check_import(
    device_id: Id,
    request: Request,
    access: Caller,
    jobs: Jobs,
    how: How,
    consent: Annotated[
        str | None, Query(max_length=LONGEST_NOTE, description="Where everybody in the file agreed, in words.")
    ] = None,
) -> ImportCheck:
    """Read a file to its last row and say what its import would do: what is new, what changes, which rows are refused
    and why. Nothing is written. The answer comes when all is read: of a million rows after about a minute.
    """
    found = await jobs.check(
        access.workspace_id,
        DeviceId(device_id),
        _content(request),
        read_as=how,
        consent_source=consent,
        actor=access.actor,
    )
    problems = [RowProblem.model_validate(problem) for problem in found.problems[:PROBLEMS_SHOWN]]
    return ImportCheck(counts=ImportCounts(**found.counts), columns=found.columns, problems=problems)


@router.get("/lead-imports", **needs(Scope.READ, device_keys=True))
async def list_imports(
    access: Caller,
    runtime: Open,
    device_id: OneDevice = None,
    status: Annotated[ImportStatus | None, Query(description="Only those that stand so.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[LeadImport]:
    """Imports of the workspace, the newest first."""
    found, following = await page_of_imports(
        runtime,
        access.workspace_id,
        device_id=own_device(access, device_id),
        status=status,
        after=after,
        limit=limit,
    )
    return Page(items=[LeadImport.of(each) for each in found], next=following)


@router.get("/lead-imports/{import_id}", **needs(Scope.READ, device_keys=True))
async def show_import(import_id: Id, access: Caller, runtime: Open) -> LeadImportDetails:
    """How far an import is, or what it did."""
    found = await get_import(runtime, access.workspace_id, import_id, device_id=access.device_id)
    return LeadImportDetails.of(found)


@router.get(
    "/lead-imports/{import_id}/rejected",
    response_class=FileResponse,
    responses=CSV | problems.CONFLICT,
    **needs(Scope.READ, device_keys=True),
)
async def download_rejected(import_id: Id, access: Caller, jobs: Jobs) -> FileResponse:
    """All refused rows with line, column and reason, to be corrected and sent again as they are. For a day."""
    path = await jobs.rejected(access.workspace_id, import_id, device_id=access.device_id)
    return FileResponse(path, media_type="text/csv; charset=utf-8", filename=f"rejected-{import_id}.csv")


@router.delete("/lead-imports/{import_id}", status_code=204, **needs(Scope.SEND, device_keys=True))
async def discard_import(import_id: Id, access: Caller, jobs: Jobs) -> None:
    """Give an import up that has not ended; no lead has changed."""
    await jobs.discard(access.workspace_id, import_id, device_id=access.device_id, actor=access.actor)
