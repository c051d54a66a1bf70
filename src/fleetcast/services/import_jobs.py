"""Imports of uploaded files, in the background of the process that took them.

Separate from `lead_import`, whose caller waits: here the caller has gone. A job is an import's row and a file in the
node's folder of uploads; it begins when both are there and ends with the import, and whoever starts the next process on
the folder goes on with what is left in it. A few run at once, of a workspace one after the other, so that one workspace
with many files holds nobody else up for longer than one of them takes.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypedDict

import structlog

from fleetcast.domain import file_names
from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead_imports import UNFINISHED, LeadImport
from fleetcast.errors import Conflict, FleetcastError, InvalidInput, NotFound, TooMany, Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services.lead_import import import_leads, resume_import, start_import
from fleetcast.services.lead_imports import discard_import, fail_import, get_import, known_import
from fleetcast.services.lead_preview import LeadPreview, preview_leads
from fleetcast.services.lead_report import ImportReport
from fleetcast.services.uploads import Upload, Uploads
from fleetcast.store import lead_merge

log = structlog.get_logger()

AT_ONCE = 2
"""Imports that run at the same time."""
MOST_WAITING = 10
"""Files of one workspace that arrive, wait or are being imported."""
AGAIN_SECONDS = 5.0
"""Until an import is tried again after the database went away, or while another process is at it."""
SWEEP_SECONDS = 3_600.0


class ReadAs(TypedDict, total=False):
    """How a file is read; see `import_leads`."""

    sheet: str | None
    mapping: Mapping[str, str] | None


class ImportJobs:
    """The jobs of one process. `running` starts and stops them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._uploads = Uploads(runtime.settings.data)
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._at_hand: dict[int, Upload] = {}
        self._arriving: Counter[WorkspaceId] = Counter()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._checks = asyncio.Semaphore(AT_ONCE)
        self._turns: dict[WorkspaceId, asyncio.Lock] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Go on with what an earlier process left, and take new files, while the block runs.

        What is under way at its end is cut short and goes on with the next process.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            house = group.create_task(self._keep_house(), name="uploads")
            try:
                yield
            finally:
                self._group = None
                house.cancel()
                for task in self._tasks.values():
                    task.cancel()

    async def _keep_house(self) -> None:
        for upload in await asyncio.to_thread(self._uploads.all):
            log.info("an import goes on", import_id=upload.import_id)
            self._begin(upload)
        while True:
            now = self._runtime.clock.now().timestamp()
            await asyncio.to_thread(self._uploads.sweep, now, set(self._tasks))
            await asyncio.sleep(SWEEP_SECONDS)

    # --- what people ask -----------------------------------------------------------------------------------------

    async def accept(
        self,
        workspace_id: WorkspaceId,
        device_id: DeviceId,
        content: AsyncIterator[bytes],
        *,
        filename: str,
        read_as: ReadAs,
        all_or_nothing: bool = False,
        consent_source: str | None = None,
        actor: str,
    ) -> LeadImport:
        """Take a file and import it in the background; it is looked at before this returns, its rows are not.

        Raises NotFound for a device that is not in this workspace, InvalidInput for a file that cannot be used at all,
        TooMany while the workspace has too many files here, Conflict for a file that is being imported already,
        Unavailable when the disk does not take it.
        """
        async with self._receiving(workspace_id, device_id, content) as path:
            made = await start_import(
                self._runtime,
                workspace_id,
                device_id,
                path,
                filename=file_names.shortened(file_names.label(filename)) or "upload",
                all_or_nothing=all_or_nothing,
                consent_source=consent_source,
                actor=actor,
                **read_as,
            )
            try:
                upload = await asyncio.to_thread(self._uploads.keep, path, workspace_id, made.id)
            except Unavailable as error:
                await fail_import(self._runtime, workspace_id, made.id, str(error))
                raise
            self._begin(upload)
        return made

    async def preview(
        self, workspace_id: WorkspaceId, device_id: DeviceId, content: AsyncIterator[bytes], rows: int, read_as: ReadAs
    ) -> LeadPreview:
        """What a file would be taken for; nothing is kept of it. Raises as `accept` does."""
        async with self._receiving(workspace_id, device_id, content) as path:
            return await preview_leads(self._runtime, workspace_id, device_id, path, rows=rows, **read_as)

    async def check(
        self,
        workspace_id: WorkspaceId,
        device_id: DeviceId,
        content: AsyncIterator[bytes],
        *,
        read_as: ReadAs,
        consent_source: str | None = None,
        actor: str,
    ) -> ImportReport:
        """What an import of the file would do, down to its last row; nothing is written and nothing kept.

        Raises as `accept` does.
        """
        async with self._receiving(workspace_id, device_id, content) as path, self._checks:
            return await import_leads(
                self._runtime,
                workspace_id,
                device_id,
                path,
                dry_run=True,
                consent_source=consent_source,
                actor=actor,
                **read_as,
            )

    @asynccontextmanager
    async def _receiving(
        self, workspace_id: WorkspaceId, device_id: DeviceId, content: AsyncIterator[bytes]
    ) -> AsyncIterator[Path]:
        async with self._runtime.db.connection() as connection:
            if await lead_merge.destination(connection, workspace_id, device_id) is None:
                raise NotFound("There is no such device in this workspace.")
        here = sum(upload.workspace_id == workspace_id for upload in self._at_hand.values())
        if here + self._arriving[workspace_id] >= MOST_WAITING:
            raise TooMany(f"{MOST_WAITING} files of this workspace wait already. Send this one when one has ended.", 30)
        self._arriving[workspace_id] += 1
        try:
            async with self._uploads.receive(content) as path:
                yield path
        finally:
            self._arriving[workspace_id] -= 1

    async def discard(
        self, workspace_id: WorkspaceId, import_id: int, *, device_id: DeviceId | None = None, actor: str
    ) -> None:
        """Give an import up that has not ended; with `device_id` only one of that device.

        Raises NotFound, Conflict when it has ended or another process is at it.
        """
        await get_import(self._runtime, workspace_id, import_id, device_id=device_id)
        await known_import(self._runtime, workspace_id, import_id)
        upload, task = self._at_hand.get(import_id), self._tasks.get(import_id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        try:
            await discard_import(self._runtime, workspace_id, import_id, actor=actor)
        except BaseException:
            if upload is not None:
                self._begin(upload)  # it goes on, or finds out that it has ended
            raise
        if upload is not None:
            await asyncio.to_thread(upload.drop, rejected=True)

    async def rejected(self, workspace_id: WorkspaceId, import_id: int, *, device_id: DeviceId | None = None) -> Path:
        """A CSV file of the rows that an import refused. Raises NotFound when there is none here any more, Conflict
        while the import has not ended.
        """
        found = await get_import(self._runtime, workspace_id, import_id, device_id=device_id)
        if found.status in UNFINISHED:
            raise Conflict(f"Import {import_id} has not ended: ask again when it has.")
        now = self._runtime.clock.now().timestamp()
        path = await asyncio.to_thread(self._uploads.rejected, workspace_id, import_id, now)
        if path is None:
            raise NotFound(
                f"There are no refused rows of import {import_id}: none was refused, or they are not kept any more. "
                "They are kept for a day, on the machine that took the file."
            )
        return path

    # --- the jobs ------------------------------------------------------------------------------------------------

    def _begin(self, upload: Upload) -> None:
        if self._group is None:
            return  # the next process finds the file
        self._at_hand[upload.import_id] = upload
        self._tasks[upload.import_id] = self._group.create_task(
            self._job(upload), name=f"lead import {upload.import_id}"
        )

    async def _job(self, upload: Upload) -> None:
        try:
            async with self._turns.setdefault(upload.workspace_id, asyncio.Lock()), self._slots:
                ended = await self._ended(upload)
                while not ended:
                    await asyncio.sleep(AGAIN_SECONDS)
                    ended = await self._ended(upload)
            await asyncio.to_thread(upload.drop)
        finally:
            if self._tasks.get(upload.import_id) is asyncio.current_task():
                del self._tasks[upload.import_id], self._at_hand[upload.import_id]

    async def _ended(self, upload: Upload) -> bool:
        """Work on the import; whether it has ended."""
        try:
            known = await get_import(self._runtime, upload.workspace_id, upload.import_id)
            if known.status in UNFINISHED:
                if known.running:  # by a process that is just ending, or that has the same file
                    return False
                await self._work(upload, known)
        except NotFound:
            return True  # of another database, or long gone
        except Unavailable as error:
            log.warning("an import waits", import_id=upload.import_id, error=str(error))
            return False
        except Exception as error:  # one import must not end the process
            log.exception("an import met a fault", import_id=upload.import_id)
            reason = f"A fault of Fleetcast ({type(error).__name__}); the log of the process has the details."
            return await self._failed(upload, reason)
        return True

    async def _failed(self, upload: Upload, reason: str) -> bool:
        with suppress(FleetcastError):
            await fail_import(self._runtime, upload.workspace_id, upload.import_id, reason)
            return True
        return False

    async def _work(self, upload: Upload, known: LeadImport) -> None:
        """Import the file. Raises Unavailable when it has not ended and is to be tried again."""
        try:
            await resume_import(
                self._runtime,
                upload.workspace_id,
                upload.import_id,
                upload.leads,
                rejected_path=upload.rejected,
                actor=known.actor,
            )
        except Conflict as error:
            now = await get_import(self._runtime, upload.workspace_id, upload.import_id)
            if now.status in UNFINISHED:
                raise Unavailable(str(error)) from None
        except (InvalidInput, NotFound) as error:  # noted already, unless the file itself cannot be read any more
            reason = str(error).replace(str(upload.leads), "what was sent")
            await fail_import(self._runtime, upload.workspace_id, upload.import_id, reason)
