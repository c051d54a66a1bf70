"""Ann owns the workspace; Ben is an operator in it."""

import pytest

from fleetcast.domain.access import Role
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from tests.services.accounts.stage import Account, account


@pytest.fixture(autouse=True)
def quick(quick_hashing: None) -> None:
    """What a hash costs is asked in `test_passwords` and where work is compared."""


@pytest.fixture
async def ann(runtime: Runtime, workspace: WorkspaceId) -> Account:
    return await account(runtime, workspace, Role.OWNER, "Ann@example.org")


@pytest.fixture
async def ben(runtime: Runtime, workspace: WorkspaceId) -> Account:
    return await account(runtime, workspace, Role.OPERATOR, "ben@example.org")
