"""Which sequence a command means, and running it there: the same for sequences and for the people in them."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from fleetcast.cli.session import with_runtime
from fleetcast.domain.identifiers import SequenceId, WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.sequences import find_sequence
from fleetcast.services.workspaces import Workspace, find_workspace

T = TypeVar("T")

SequenceArgument = Annotated[str, typer.Argument(metavar="SEQUENCE", help="Its name or number.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def run_on(
    workspace: str | None, name: str, work: Callable[[Runtime, WorkspaceId, SequenceId], Awaitable[T]]
) -> tuple[Workspace, T]:
    """Do something with a sequence; returns its workspace and what came of it. Raises NotFound, InvalidInput."""

    async def run(runtime: Runtime) -> tuple[Workspace, T]:
        where = await find_workspace(runtime, workspace)
        found = await find_sequence(runtime, where.id, name)
        return where, await work(runtime, where.id, found.id)

    return with_runtime(run)
