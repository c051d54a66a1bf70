"""What can go wrong between a program and Fleetcast, as exceptions with the facts of the answer.

The texts are sentences for a person; programs decide by the class, by `type` and by `errors`.

    ClientError
    ├── Unreachable           no answer came, also not later
    ├── UnexpectedAnswer      what answered is not this API, or a much newer one
    └── ApiError              a refusal, with its problem details (RFC 9457)
        ├── Unauthenticated   401
        ├── Forbidden         403
        ├── NotFound          404
        ├── Conflict          409
        ├── InvalidInput      400, 413, 415, 422: `errors` names the fields
        ├── TooMany           429, and asking again did not help in time
        ├── Unavailable       502, 503, 504, and asking again did not help in time
        └── ServerFault       500 and the rest of them
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetcast.errors import FleetcastError

UNDER_WAY = "urn:fleetcast:request-under-way"
"""The type of the refusal that says: the same request is being worked on."""


class ClientError(FleetcastError):
    """Base of all of them."""


class Unreachable(ClientError):
    """No answer came in time. Whether a change was made is not known; the same Idempotency-Key makes sure."""


class UnexpectedAnswer(ClientError):
    """An answer that this client cannot read."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that was refused."""

    field: str
    """As it is called in the request: `leads[3].phone`."""
    detail: str
    line: int | None = None
    """1-based, in a text or a file."""
    column: int | None = None


class ApiError(ClientError):
    """A refusal."""

    def __init__(
        self,
        status: int,
        *,
        type: str,  # noqa: A002 - the word of RFC 9457
        title: str,
        detail: str,
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.type = type
        """Like `urn:fleetcast:not-found`; what programs decide by."""
        self.title = title
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        """Seconds after which asking again may help, if the server said so."""
        super().__init__(f"{detail or title} ({status})")

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status in {429, 502, 503, 504} or self.type == UNDER_WAY


class Unauthenticated(ApiError):
    """The key is not known, was revoked, or has expired."""


class Forbidden(ApiError):
    """The key may not do this."""


class NotFound(ApiError):
    """No such thing in the key's workspace."""


class Conflict(ApiError):
    """The thing is not in a state that allows this."""


class InvalidInput(ApiError):
    """Something in the request cannot be accepted; `errors` names the fields."""


class TooMany(ApiError):
    """Asked too often."""


class Unavailable(ApiError):
    """A server is away."""


class ServerFault(ApiError):
    """A fault of Fleetcast, not of the request."""


_KINDS: Mapping[int, type[ApiError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidInput,
    415: InvalidInput,
    422: InvalidInput,
    429: TooMany,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def of_answer(status: int, reason: str, body: Any, retry_after: float | None) -> ApiError:
    """The exception for a refusal. `body`: its problem details, or what a proxy said instead."""
    told: Mapping[str, Any] = body if isinstance(body, dict) else {}
    kind = _KINDS.get(status, ServerFault if status >= 500 else ApiError)
    return kind(
        status,
        type=_text(told, "type") or "about:blank",
        title=_text(told, "title") or reason or "Refused",
        detail=_text(told, "detail") or f"The server answered {status} and did not say why.",
        errors=_fields(told.get("errors")),
        retry_after=retry_after,
    )


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""


def _fields(found: object) -> tuple[FieldError, ...]:
    entries = [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []
    return tuple(
        FieldError(_text(e, "field"), _text(e, "detail"), _number(e.get("line")), _number(e.get("column")))
        for e in entries
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
