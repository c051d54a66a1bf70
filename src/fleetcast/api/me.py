"""Who is asking: the person who is signed in and what they may do with their own account, or the key.

No key may change anything here. What would let others in for good takes the password again.
"""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.api.keys import Key
from fleetcast.api.paging import After, Id, Limit, Page
from fleetcast.api.workspaces import OwnWorkspace
from fleetcast.domain.access import Access, Scope, SessionId, UserId
from fleetcast.runtime import Runtime
from fleetcast.services import workspaces
from fleetcast.services.accounts import keys, people, second_factor, sign_in
from fleetcast.services.accounts.passwords import LONGEST

router = APIRouter(route_class=GuardedRoute, tags=["me"])

Password = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST, examples=["your password, again"])]
Code = Annotated[SecretStr, Field(min_length=6, max_length=40, examples=["123456"])]


class Person(BaseModel):
    """Somebody with an account."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str = Field(examples=["ann@example.org"])
    name: str = Field(examples=["Ann"])
    created_at: datetime
    password_changed_at: datetime
    installation_owner: bool = Field(description="May make workspaces.")
    second_factor: bool = Field(
        validation_alias="needs_code", description="Whether signing in takes a code besides the password."
    )


class Me(BaseModel):
    """Who asks, where, and what they may do there."""

    actor: str = Field(description="As the audit log names them.", examples=["user:ann@example.org"])
    workspace_id: int
    workspace: str = Field(examples=["Shop KL"])
    scopes: list[Scope]
    person: Person | None = Field(description="null: a key asks.")
    recovery_codes_left: int = Field(description="Codes that sign in without the telephone.")
    workspaces: list[OwnWorkspace] = Field(description="Those of the person.")
    key: Key | None = Field(description="null: a person asks.")


class NameChange(BaseModel):
    """What a person may change of themselves."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200, examples=["Ann"])


class PasswordChange(BaseModel):
    """The old password and the new one."""

    model_config = ConfigDict(extra="forbid")

    password: Password
    new_password: SecretStr = Field(max_length=LONGEST, examples=["four words that nobody expects"])
    revoke_keys: bool = Field(default=False, description="Also revoke the keys that you made, in all workspaces.")


class Session(BaseModel):
    """A browser that is signed in."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    created_at: datetime
    seen_at: datetime = Field(description="When it was last used, to the minute.")
    expires_at: datetime
    browser: str = Field(description="As it calls itself.", examples=["Mozilla/5.0 …"])
    address: str = Field(examples=["192.0.2.7"])
    is_this: bool = Field(default=False, description="The one that asks.")


class Ended(BaseModel):
    """How many sessions are over now."""

    ended: int


class Proof(BaseModel):
    """The password, asked for again."""

    model_config = ConfigDict(extra="forbid")

    password: Password


class WholeProof(Proof):
    """The password and a code, which may be a recovery code."""

    code: Code


class FirstCode(BaseModel):
    """A code of the app, to see that it works."""

    model_config = ConfigDict(extra="forbid")

    code: Code


class SecondFactorEnrolment(BaseModel):
    """What an authenticator app needs. It is shown this once."""

    model_config = ConfigDict(from_attributes=True)

    secret: str = Field(description="For typing.", examples=["JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"])
    uri: str = Field(description="For a QR code.", examples=["otpauth://totp/Fleetcast:ann%40example.org?secret=…"])


class RecoveryCodes(BaseModel):
    """Codes that each sign in once without the telephone. They are shown this once."""

    recovery_codes: list[str] = Field(examples=[["1f2e3-d4c5b-6a798-80123"]])


def _person(access: Access) -> tuple[UserId, SessionId]:
    """Who is signed in; the guard has let nobody else through."""
    assert access.user_id is not None
    assert access.session_id is not None
    return access.user_id, access.session_id


async def _me(runtime: Runtime, access: Access) -> Me:
    place = await workspaces.get_workspace(runtime, access.workspace_id)
    told = Me(
        actor=access.actor,
        workspace_id=place.id,
        workspace=place.name,
        scopes=sorted(access.scopes),
        person=None,
        recovery_codes_left=0,
        workspaces=[],
        key=None,
    )
    if access.key_id is not None:
        told.key = Key.model_validate(await keys.get_key(runtime, access.workspace_id, access.key_id))
    if access.user_id is not None:
        own, _ = await workspaces.own_workspaces(runtime, access.user_id)
        told.person = Person.model_validate(await people.get_user(runtime, access.user_id))
        told.recovery_codes_left = await second_factor.recovery_codes_left(runtime, access.user_id)
        told.workspaces = [OwnWorkspace.model_validate(w) for w in own]
    return told


@router.get("/me", **needs(Scope.READ, device_keys=True))
async def show_me(access: Caller, runtime: Open) -> Me:
    """Who you are here, and what you may do."""
    return await _me(runtime, access)


@router.patch("/me", **needs(Scope.READ, sessions_only=True))
async def change_me(change: NameChange, access: Caller, runtime: Open) -> Me:
    """Change your name."""
    user_id, _ = _person(access)
    await people.rename(runtime, user_id, change.name)
    return await _me(runtime, access)


@router.post("/me/password", status_code=204, **needs(Scope.READ, sessions_only=True))
async def change_password(change: PasswordChange, access: Caller, runtime: Open) -> None:
    """Change your password. Your other sessions end."""
    user_id, session_id = _person(access)
    await people.change_password(
        runtime,
        user_id,
        change.password.get_secret_value(),
        change.new_password.get_secret_value(),
        keep=session_id,
        revoke_keys=change.revoke_keys,
    )


@router.get("/me/sessions", **needs(Scope.READ, sessions_only=True))
async def list_sessions(access: Caller, runtime: Open, limit: Limit = 50, after: After = None) -> Page[Session]:
    """Where you are signed in, newest first."""
    user_id, this = _person(access)
    found, following = await sign_in.list_sessions(runtime, user_id, after=after, limit=limit)
    told = [Session.model_validate(s) for s in found]
    for session in told:
        session.is_this = session.id == this
    return Page(items=told, next=following)


@router.delete("/me/sessions", **needs(Scope.READ, sessions_only=True))
async def sign_out_everywhere(
    access: Caller,
    runtime: Open,
    keep_this: Annotated[bool, Query(description="Stay signed in where you are.")] = False,
) -> Ended:
    """Sign out everywhere."""
    user_id, this = _person(access)
    return Ended(ended=await sign_in.sign_out_everywhere(runtime, user_id, keep=this if keep_this else None))


@router.delete("/me/sessions/{session_id}", status_code=204, **needs(Scope.READ, sessions_only=True))
async def end_session(session_id: Id, access: Caller, runtime: Open) -> None:
    """Sign out one browser."""
    user_id, _ = _person(access)
    await sign_in.end_session(runtime, user_id, SessionId(session_id))


@router.post("/me/second-factor", **needs(Scope.READ, sessions_only=True))
async def begin_second_factor(proof: Proof, access: Caller, runtime: Open) -> SecondFactorEnrolment:
    """Prepare a second factor. It is asked for once a code of it was confirmed."""
    user_id, _ = _person(access)
    made = await second_factor.begin(runtime, user_id, proof.password.get_secret_value())
    return SecondFactorEnrolment.model_validate(made)


@router.post("/me/second-factor/confirm", **needs(Scope.READ, sessions_only=True))
async def confirm_second_factor(first: FirstCode, access: Caller, runtime: Open) -> RecoveryCodes:
    """Turn the prepared second factor on. Your other sessions end."""
    user_id, session_id = _person(access)
    made = await second_factor.confirm(runtime, user_id, first.code.get_secret_value(), keep=session_id)
    return RecoveryCodes(recovery_codes=made)


@router.post("/me/second-factor/recovery-codes", **needs(Scope.READ, sessions_only=True))
async def renew_recovery_codes(proof: WholeProof, access: Caller, runtime: Open) -> RecoveryCodes:
    """Ten new recovery codes in place of the old ones."""
    user_id, _ = _person(access)
    password, code = proof.password.get_secret_value(), proof.code.get_secret_value()
    return RecoveryCodes(recovery_codes=await second_factor.renew_recovery_codes(runtime, user_id, password, code))


@router.post("/me/second-factor/off", status_code=204, **needs(Scope.READ, sessions_only=True))
async def turn_off_second_factor(proof: WholeProof, access: Caller, runtime: Open) -> None:
    """Sign in with the password alone from now on."""
    user_id, _ = _person(access)
    password, code = proof.password.get_secret_value(), proof.code.get_secret_value()
    await second_factor.turn_off(runtime, user_id, password, code)
