"""Keys of the API: who else may call it, made and revoked over it."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, allow_giving, needs
from fleetcast.api.paging import LAST_ID, After, Id, Limit, Page
from fleetcast.domain.access import KeyId, Scope
from fleetcast.domain.identifiers import DeviceId
from fleetcast.services.accounts import keys
from fleetcast.services.accounts.keys import LONGEST_DAYS

router = APIRouter(route_class=GuardedRoute, tags=["keys"])


class Key(BaseModel):
    """A key, as far as it can be shown after it was made."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str = Field(examples=["shop export"])
    scopes: Annotated[list[Scope], BeforeValidator(sorted)]
    device_id: int | None = Field(description="It sees and moves this device alone. null: all.")
    ending: str = Field(description="Its last four characters, to tell keys apart.", examples=["x7Qa"])
    created_by: str = Field(examples=["user:ann@example.org"])
    created_at: datetime
    expires_at: datetime | None = Field(description="null: never.")
    used_at: datetime | None = Field(description="To the minute. null: never.")
    revoked_at: datetime | None


class NewKey(BaseModel):
    """What a key is made of."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200, examples=["shop export"])
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope), examples=[["read", "send"]])
    device_id: int | None = Field(
        default=None, ge=1, le=LAST_ID, description="For this device alone; such a key cannot manage.", examples=[None]
    )
    days: int | None = Field(
        default=None, ge=1, le=LONGEST_DAYS, description="It ends after so many days. null: never.", examples=[90]
    )


class MadeKey(BaseModel):
    """A new key and its token."""

    key: Key
    token: str = Field(description="The key itself. It is shown this once.", examples=["fck_…"])


@router.get("/keys", **needs(Scope.MANAGE))
async def list_keys(access: Caller, runtime: Open, limit: Limit = 50, after: After = None) -> Page[Key]:
    """All keys of the workspace, newest first; revoked and expired ones too."""
    found, following = await keys.list_keys(runtime, access.workspace_id, after=after, limit=limit)
    return Page(items=[Key.model_validate(k) for k in found], next=following)


@router.post("/keys", status_code=201, **needs(Scope.MANAGE))
async def create_key(new: NewKey, access: Caller, runtime: Open, response: Response) -> MadeKey:
    """Make a key. Nobody can give scopes that they do not have, and a key cannot make keys that manage."""
    allow_giving(access, new.scopes)
    made = await keys.create_key(
        runtime,
        access.workspace_id,
        new.name,
        set(new.scopes),
        device_id=None if new.device_id is None else DeviceId(new.device_id),
        days=new.days,
        actor=access.actor,
    )
    response.headers["Location"] = f"keys/{made.key.id}"
    return MadeKey(key=Key.model_validate(made.key), token=made.token)


@router.get("/keys/{key_id}", **needs(Scope.MANAGE))
async def show_key(key_id: Id, access: Caller, runtime: Open) -> Key:
    """One key."""
    return Key.model_validate(await keys.get_key(runtime, access.workspace_id, KeyId(key_id)))


@router.delete("/keys/{key_id}", status_code=204, **needs(Scope.MANAGE))
async def revoke_key(key_id: Id, access: Caller, runtime: Open) -> None:
    """End a key at once. It stays in the list."""
    await keys.revoke_key(runtime, access.workspace_id, KeyId(key_id), actor=access.actor)
