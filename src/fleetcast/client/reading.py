"""From the JSON of an answer to a frozen dataclass.

A field that this client does not know is left out and one that an older server does not send keeps its default, so
that client and server need not be of the same day. What is required and missing is an error that names its place.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from fleetcast.client.errors import UnexpectedAnswer

T = TypeVar("T")


def read(kind: type[T], data: object) -> T:
    """A value of that kind. Raises UnexpectedAnswer where the data do not fit."""
    return cast("T", _read(kind, data, kind.__name__))


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, data: object, place: str) -> object:
    origin = get_origin(kind)
    if kind is Any:
        return data
    if origin in (Union, UnionType):
        return _optional(kind, data, place)
    if origin is tuple:
        inner = get_args(kind)[0]
        return tuple(_read(inner, each, f"{place}[{i}]") for i, each in enumerate(_of(list, data, place)))
    if origin is not None and issubclass(origin, Mapping):
        inner = get_args(kind)[1]
        return {str(k): _read(inner, v, f"{place}.{k}") for k, v in _of(dict, data, place).items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, _of(dict, data, place), place)
    return _plain(kind, data, place)


def _optional(kind: Any, data: object, place: str) -> object:
    if data is None and NoneType in get_args(kind):
        return None
    [inner] = (each for each in get_args(kind) if each is not NoneType)
    return _read(inner, data, place)


def _dataclass(kind: Any, data: Mapping[str, object], place: str) -> object:
    hints, found = _hints(kind), {}
    for each in fields(kind):
        if each.name in data:
            found[each.name] = _read(hints[each.name], data[each.name], f"{place}.{each.name}")
        elif each.default is MISSING and each.default_factory is MISSING:
            raise UnexpectedAnswer(f"The answer has no {place}.{each.name}. Is this Fleetcast, and not an older one?")
    return kind(**found)


def _plain(kind: Any, data: object, place: str) -> object:
    if kind in (datetime, date):
        try:
            return kind.fromisoformat(_of(str, data, place))
        except ValueError:
            raise _misfit(place, data) from None
    if kind is float:
        return float(_of((int, float), data, place))
    return _of(kind, data, place)


def _of(kind: Any, data: object, place: str) -> Any:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(data, kinds) or (isinstance(data, bool) and bool not in kinds):
        raise _misfit(place, data)
    return data


def _misfit(place: str, data: object) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"{place} of the answer is a {type(data).__name__} that this client cannot read.")
