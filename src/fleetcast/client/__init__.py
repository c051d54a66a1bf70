"""The Python client of the REST API: typed, asynchronous, and careful where networks are not.

    from fleetcast.client import Client

    async with Client("http://127.0.0.1:8080", key) as fleet:
        device = await fleet.devices.create("Shop KL", min_delay=10, max_delay=30)

Each attribute of `Client` is a resource of the API, each method one operation of its description. Results are frozen
dataclasses, lists are gone through with `async for`, refusals are exceptions (`ApiError` and below). It knows nothing
of the rest of Fleetcast and can be used from another machine.
"""

from fleetcast.client.devices import Device
from fleetcast.client.errors import (
    ApiError,
    ClientError,
    Conflict,
    FieldError,
    Forbidden,
    InvalidInput,
    NotFound,
    ServerFault,
    TooMany,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from fleetcast.client.fleet import Client, Resources
from fleetcast.client.pages import Page, Pages

__all__ = [
    "ApiError",
    "Client",
    "ClientError",
    "Conflict",
    "Device",
    "FieldError",
    "Forbidden",
    "InvalidInput",
    "NotFound",
    "Page",
    "Pages",
    "Resources",
    "ServerFault",
    "TooMany",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
]
