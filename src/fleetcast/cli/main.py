"""The command `fleetcast`: finds the command that is asked for and turns every error into a sentence and an exit code.

Nobody sees a stack trace unless they ask for one with `--debug`; what was not foreseen is kept in a file.
"""

import importlib
import os
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from fleetcast.cli import loading
from fleetcast.cli.output import complain, emit_json, error_facts
from fleetcast.errors import FleetcastError
from fleetcast.settings import load_settings

HELP = (
    "Self-hosted WhatsApp broadcasts: nothing lost, nothing sent twice, every number measured.\n\n"
    "Exit codes: 0 done; 1 a check did not hold, or an unforeseen error; 2 wrong input; 3 not found; 4 not possible in "
    "this state; 5 a setting or the machine stands in the way; 6 a server does not answer; 130 interrupted."
)

COMMANDS = {
    "up": "up",
    "demo": "demo",
    "status": "status",
    "sender": "processes",
    "scheduler": "processes",
    "web": "processes",
    "doctor": "doctor",
}
"""Single commands, and the module of `fleetcast.cli` that has each."""
GROUPS = (
    "simulator",
    "workspace",
    "user",
    "key",
    "device",
    "leads",
    "campaign",
    "sequence",
    "enrolment",
    "message",
    "suppression",
    "process",
    "node",
    "db",
)
"""Groups of commands; a module each."""


class Commands(TyperGroup):
    """All commands, each imported when it is asked for: a sender must not carry the dashboard in its memory."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: dict[str, Any] = dict.fromkeys((*COMMANDS, *GROUPS))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, None if there is none."""
        if self.commands.get(cmd_name, self) is None:
            found: typer.Typer = importlib.import_module(f"fleetcast.cli.{COMMANDS.get(cmd_name, cmd_name)}").app
            found.rich_markup_mode = "markdown"  # the one that does not keep the source's ends of lines
            group = typer.main.get_group(found)
            group.name = cmd_name
            for command in (group, *group.commands.values()):
                _without_types_of_flags(command, ctx)
            self.commands[cmd_name] = group.commands[cmd_name] if cmd_name in COMMANDS else group
        return self.commands.get(cmd_name)

    def get_params(self, ctx: Any) -> Any:
        """The options before the command."""
        _without_types_of_flags(self, ctx)
        return super().get_params(ctx)


def _without_types_of_flags(command: Any, ctx: Any) -> None:
    """`--json <bool>` reads as if a value had to follow."""
    for option in (*command.params, command.get_help_option(ctx)):
        if getattr(option, "is_flag", False):
            option.metavar = ""


app = typer.Typer(
    name="fleetcast",
    cls=Commands,
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fleetcast {version('fleetcast')}")
        raise typer.Exit


@app.callback()
def _root(
    version_wanted: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the stack trace of an unforeseen error.")] = False,
) -> None:
    """Options that come before the command; `main` itself reads them."""


def _asked(arguments: list[str], option: str) -> bool:
    """Whether an option is there, whatever else is wrong with the line; what follows `--` is no option."""
    return option in (arguments[: arguments.index("--")] if "--" in arguments else arguments)


def _keep_trace(trace: str) -> Path | None:
    """Put the trace of an unforeseen error into a file of the data directory; None when that cannot be written."""
    try:
        folder = load_settings().data / "log"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "errors.log"
        # A trace may quote what it choked on: it is for its owner only.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
            file.write(trace + "\n")
    except (OSError, FleetcastError):
        return None
    return path


def _unforeseen(error: Exception, *, as_json: bool, debug: bool) -> int:
    if debug:
        sys.stderr.write(traceback.format_exc())
    path = None if debug else _keep_trace(traceback.format_exc())
    where = "above" if debug else f"in {path}" if path else "shown with `fleetcast --debug …`"
    sentence = f"Something unforeseen happened ({type(error).__name__}); the details are {where}."
    if as_json:
        emit_json({"error": {"type": "Unforeseen", "message": sentence}})
    else:
        complain(sentence)
    return 1


def main(arguments: list[str]) -> int:
    """Run one command line and return the exit code."""
    as_json = _asked(arguments, "--json")
    try:
        code = app(arguments, prog_name="fleetcast", standalone_mode=False)
        sys.stdout.flush()
    except FleetcastError as error:
        if as_json:
            emit_json({"error": error_facts(error)})
        else:
            complain(str(error))
        return error.exit_code
    except TyperException as error:
        if as_json:
            emit_json({"error": {"type": "Usage", "message": error.format_message()}})
        elif show := getattr(error, "show", None):
            show()
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        return _unforeseen(error, as_json=as_json, debug=_asked(arguments, "--debug"))
    return code if isinstance(code, int) else 0


def run() -> None:
    """Entry point of the command. A reader that went away (`fleetcast … | head`) ends it quietly."""
    loading.begin()
    try:
        code = main(sys.argv[1:])
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would complain
        code = 141  # as if ended by SIGPIPE
    sys.exit(code)
