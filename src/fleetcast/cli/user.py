"""`fleetcast user`: accounts, for who runs the machine. Members are invited over the API."""

from typing import Annotated

import typer

from fleetcast.cli.output import emit_json, say, table
from fleetcast.cli.session import JsonOption, WorkspaceOption, person, with_runtime
from fleetcast.domain.access import Role
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import membership, people
from fleetcast.services.accounts.people import User
from fleetcast.services.workspaces import find_workspace

app = typer.Typer(help="Accounts: who may sign in.", no_args_is_help=True)

SHOWN = ("id", "email", "name", "created_at", "password_changed_at", "installation_owner", "second_factor_since")
"""Of an account; the rest is nobody's business."""

Email = Annotated[str, typer.Argument(help="Their e-mail address.", metavar="EMAIL")]


@app.command("add")
def add(
    email: Email,
    name: Annotated[str, typer.Option(help="Their name, if the account is new.")] = "",
    role: Annotated[Role, typer.Option(help="What they may do in the workspace.")] = Role.OPERATOR,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make somebody a member of a workspace. A new account gets a random password, shown once."""

    async def work(runtime: Runtime) -> tuple[str, str | None]:
        where = await find_workspace(runtime, workspace)
        password = await membership.add_member(runtime, where.id, email, name or email, role, actor=person())
        return where.name, password

    where, password = with_runtime(work)
    if as_json:
        emit_json({"email": email, "workspace": where, "role": role, "password": password})
        return
    say(f"{email} is {role} of {where}.")
    if password is not None:
        say(f"Their password is {password}", style="bold")
        say("It is shown this once and stored nowhere.")


@app.command("list")
def show_all(as_json: JsonOption = False) -> None:
    """All accounts of this installation."""
    found: list[User] = with_runtime(people.list_users)
    if as_json:
        emit_json([{name: getattr(u, name) for name in SHOWN} for u in found])
    elif not found:
        say("There is no account yet. The first start of `fleetcast up` or `fleetcast web` makes one.")
    else:
        rows = [(u.email, u.name, "yes" if u.needs_code else "no", f"{u.created_at:%Y-%m-%d}") for u in found]
        table(("e-mail", "name", "second factor", "since"), rows)


@app.command("role")
def change_role(
    email: Email,
    role: Annotated[Role, typer.Argument(help="What they may do from now on.", metavar="ROLE")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a member of a workspace another role. All their sessions end."""

    async def work(runtime: Runtime) -> str:
        where = await find_workspace(runtime, workspace)
        user = await people.find_user(runtime, email)
        await membership.change_role(runtime, where.id, user.id, role, actor=person())
        return where.name

    where = with_runtime(work)
    if as_json:
        emit_json({"email": email, "workspace": where, "role": role})
    else:
        say(f"{email} is {role} of {where}.")


@app.command("reset-password")
def reset_password(email: Email, as_json: JsonOption = False) -> None:
    """Give an account a new random password, shown once, and end its sessions. A second factor stays."""

    async def work(runtime: Runtime) -> str:
        return await people.reset_password(runtime, email, actor=person())

    password = with_runtime(work)
    if as_json:
        emit_json({"email": email, "password": password})
        return
    say(f"The password of {email} is now {password}", style="bold")
    say("It is shown this once and stored nowhere. All their sessions have ended.")


@app.command("remove-second-factor")
def remove_second_factor(email: Email, as_json: JsonOption = False) -> None:
    """Ask an account for no code any more: for a telephone that was lost together with its recovery codes."""

    async def work(runtime: Runtime) -> None:
        await people.remove_second_factor(runtime, email, actor=person())

    with_runtime(work)
    if as_json:
        emit_json({"email": email, "second_factor": False})
    else:
        say(f"{email} signs in with the password alone. All their sessions have ended.")
