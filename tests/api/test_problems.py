"""Refusals that no route makes: wrong methods, wrong addresses."""

import httpx2
import pytest

from fleetcast.api.app import PREFIX


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("PUT", "devices", "GET, POST"), ("POST", "devices/1", "DELETE, GET, PATCH")]
)
async def test_a_wrong_method_is_told_all_right_ones(
    api: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await api.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    assert answer.json()["type"] == "urn:fleetcast:method-not-allowed"


async def test_an_address_with_a_slash_too_many_is_none_and_nobody_is_sent_elsewhere(api: httpx2.AsyncClient) -> None:
    answer = await api.get(f"{PREFIX}/devices/", headers={"Host": "localhost:1"})
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "Location" not in answer.headers


@pytest.mark.parametrize("path", ["nothing", "devices/1/nothing", "devices/a%0Ab", "suppressions/%0B%0A/x", "%0A"])
async def test_an_address_that_is_none_is_refused_by_the_api_and_not_by_the_pages(
    api: httpx2.AsyncClient, path: str
) -> None:
    answer = await api.get(path)
    assert answer.status_code in {404, 422}
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["messages?campaign=7", "leads?colour=red", "workspace?x=", "devices?state=online&sort=name"]
)
async def test_a_parameter_that_is_none_is_refused_by_name_and_shows_nothing(
    api: httpx2.AsyncClient, path: str
) -> None:
    answer = await api.get(path)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [path.split("?")[1].split("&")[-1].split("=")[0]]
    assert "there is no such parameter" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "field", "words"),
    [
        ("{not json", "application/json", "body", "the content is no JSON: at character 1"),
        (
            '{"name": "A"}',
            "application/x-www-form-urlencoded",
            "body",
            "with the header Content-Type: application/json",
        ),
        ('{"name": "A", "min_delay": 1, "max_delay": 2, "colour": 1}', "application/json", "colour", "no such field"),
    ],
)
async def test_a_content_that_does_not_fit_is_told_what_would(
    api: httpx2.AsyncClient, content: str, kind: str, field: str, words: str
) -> None:
    answer = await api.post("devices", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert words in answer.json()["errors"][0]["detail"]
