"""What can go wrong, as data.

One tree for the whole package, at the bottom of the layers, so that every edge (CLI, API, pages) shows the same
sentence. The text of an error is a complete sentence for a person: what is wrong and what to do. Decisions a caller
must take are attributes, never parsed out of the text.

    FleetcastError
    ├── InvalidInput          a field, row or setting that cannot be accepted (names it)
    ├── NotFound              no such thing in this workspace
    ├── Conflict              the thing is there, but not in a state that allows the wish
    ├── Unauthenticated       nobody is known to ask, or not who they say
    ├── Forbidden             who asks may not do this
    ├── TooMany               asked too often; says when to try again
    ├── ConfigurationError    a setting or the machine itself (names the setting)
    └── Unavailable           a server that does not answer now; trying again later may help
        └── Uncertain         it went away in the middle of a commit: nobody knows whether it was done

What a transport reports about one send is another subject: `fleetcast.transports.errors`.
"""

from dataclasses import dataclass


class FleetcastError(Exception):
    """Base of every error meant for a person. `exit_code` is the CLI's exit status for it."""

    exit_code = 1


class InvalidInput(FleetcastError):
    """A value that cannot be accepted.

    `field` is the name of the field, column or option as the person knows it; `line` and `column` (1-based) say
    where in a text or file, when that is known.
    """

    exit_code = 2

    def __init__(self, field: str, problem: str, *, line: int | None = None, column: int | None = None) -> None:
        self.field = field
        self.problem = problem
        self.line = line
        self.column = column
        where = "" if line is None else f" (line {line})" if column is None else f" (line {line}, column {column})"
        super().__init__(f"{field}: {problem}{where}")


class InvalidInputs(InvalidInput):
    """Several fields at once, so that a form can show all of them."""

    def __init__(self, problems: "list[InvalidInput]") -> None:
        if not problems:
            raise ValueError("at least one problem is needed")
        first = problems[0]
        super().__init__(first.field, first.problem, line=first.line, column=first.column)
        self.problems = problems
        self.args = ("\n".join(str(p) for p in problems),)


class NotFound(FleetcastError):
    """No such thing in this workspace; the same words whether it never was or belongs to somebody else."""

    exit_code = 3


class Conflict(FleetcastError):
    """The thing is not in a state that allows this."""

    exit_code = 4


class Unauthenticated(FleetcastError):
    """Nobody is known to ask: no session or key, an expired one, a wrong password. Never says which part was wrong."""


class Forbidden(FleetcastError):
    """It is known who asks, and they may not do this."""


class TooMany(FleetcastError):
    """Asked too often. `retry_after`: whole seconds after which to try again."""

    def __init__(self, sentence: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(sentence)


class ConfigurationError(FleetcastError):
    """A setting, a path or the machine stands in the way."""

    exit_code = 5


class Unavailable(FleetcastError):
    """A server that Fleetcast needs does not answer. Retryable."""

    exit_code = 6


class Uncertain(Unavailable):
    """The server went away between the wish to commit and its answer: the change is made, or it is not."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One refused row of a file: 1-based line, the column's header (or ''), and the reason in plain words."""

    line: int
    column: str
    reason: str
