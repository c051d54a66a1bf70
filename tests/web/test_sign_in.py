"""Coming in and going out by the forms: what the browser is given, what a wrong word costs, and where one comes to."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import httpx2
import pyotp
import pytest
from fastapi import FastAPI

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.runtime import Runtime
from fleetcast.services.accounts import second_factor
from fleetcast.services.accounts.sign_in import CODE_SECONDS, SESSION_SECONDS
from fleetcast.services.accounts.tries import FREE
from fleetcast.settings import Settings
from fleetcast.store.connection import Database
from fleetcast.web.app import create_app
from tests.store.broadcast import move_time
from tests.web import visitors
from tests.web.looking import HOSTILE, Page
from tests.web.streams import serving
from tests.web.visitors import SECURE_SESSION, SESSION, Account


@pytest.fixture
async def ann(runtime: Runtime, workspace: WorkspaceId) -> Account:
    return await visitors.account(runtime, workspace)


def words(account: Account, **more: str) -> dict[str, str]:
    """What somebody types."""
    return {"email": account.email, "password": account.password} | more


def given(answer: httpx2.Response, name: str = SESSION) -> SimpleCookie:
    """The cookie that an answer sets, with its flags."""
    [header] = answer.headers.get_list("set-cookie")
    cookie = SimpleCookie(header)
    assert list(cookie) == [name]
    return cookie


# --- password


async def test_the_form_is_labelled_ordered_and_begins_in_its_first_field(stranger: httpx2.AsyncClient) -> None:
    answer = await stranger.get("/sign-in")
    page = Page(answer.text)
    assert answer.status_code == 200
    assert [a["name"] for t, a in page.tags if t == "input"] == ["next", "email", "password"]
    assert {a["for"] for t, a in page.tags if t == "label"} == {"email", "password"}
    [email], [password] = page.attributes("input", id="email"), page.attributes("input", id="password")
    assert "autofocus" in email
    assert (email["autocomplete"], password["autocomplete"]) == ("username", "current-password")
    assert (password["type"], password.get("value")) == ("password", None)
    assert [t for t, a in page.tags if t in ("input", "button", "a") and a.get("type") != "hidden"] == [
        "input",
        "input",
        "button",
    ]
    assert not [a for _, a in page.tags if "tabindex" in a]


async def test_the_right_password_opens_the_page_with_a_cookie_that_scripts_and_other_sites_cannot_use(
    stranger: httpx2.AsyncClient, ann: Account
) -> None:
    answer = await stranger.post("/sign-in", data=words(ann))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = given(answer)[SESSION]
    assert cookie.value.startswith("fcs_")
    assert (cookie["httponly"], cookie["samesite"].lower(), cookie["path"], cookie["domain"]) == (True, "lax", "/", "")
    assert not cookie["secure"]
    assert int(cookie["max-age"]) == SESSION_SECONDS
    page = Page((await stranger.get("/")).text)
    assert ann.email in page.words
    assert page.attributes("form", method="post", action="/sign-out")


@pytest.mark.parametrize(
    ("base", "url"), [("https://localhost:8080", None), ("http://localhost:8080", "https://fleetcast.example.org")]
)
async def test_over_tls_the_cookie_stays_there_and_no_other_host_can_plant_it(
    runtime: Runtime, ann: Account, base: str, url: str | None
) -> None:
    app = create_app(replace(runtime, settings=runtime.settings.model_copy(update={"url": url})))
    async with visitors.browser(app, base=base) as client:
        cookie = given(await client.post("/sign-in", data=words(ann)), SECURE_SESSION)[SECURE_SESSION]
        assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
        planted = {"Cookie": f"{SESSION}={cookie.value}"}
        assert (await client.get("/", headers=planted)).status_code == 303
        opened = {"Cookie": f"{SECURE_SESSION}={cookie.value}"}
        assert (await client.get("/sign-in", headers=opened)).headers["location"] == "/"
        left = given(await client.post("/sign-out", headers=opened), SECURE_SESSION)[SECURE_SESSION]
        assert (left.value, left["secure"], left["path"], left["max-age"]) == ("", True, "/", "0")
        assert (await client.get("/", headers=opened)).status_code == 303


async def test_s30_a_token_known_before_the_sign_in_is_worth_nothing_after_it(
    app: FastAPI, stranger: httpx2.AsyncClient, ann: Account
) -> None:
    planted = "fcs_" + "a" * 43
    answer = await stranger.post("/sign-in", data=words(ann), headers={"Cookie": f"{SESSION}={planted}"})
    assert given(answer)[SESSION].value != planted
    async with visitors.browser(app) as other:
        assert (await other.get("/", headers={"Cookie": f"{SESSION}={planted}"})).status_code == 303


@pytest.mark.parametrize(
    "typed",
    [
        {"password": "wrong"},
        {"email": "nobody@example.org"},
        {"email": ""},
        {"password": ""},
        {"email": "ann\0@example.org"},
        {"email": "'; DROP TABLE users; --"},
        {"password": "x" * 1_999},
    ],
)
async def test_a_wrong_word_is_told_in_the_same_way_whichever_it_was(
    stranger: httpx2.AsyncClient, ann: Account, typed: dict[str, str]
) -> None:
    answer = await stranger.post("/sign-in", data=words(ann) | typed)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    page = Page(answer.text)
    assert "E-mail address or password is wrong." in page.words
    assert page.attributes("p", role="alert", id="trouble")
    [email], [password] = page.attributes("input", id="email"), page.attributes("input", id="password")
    assert email["aria-describedby"] == password["aria-describedby"] == "trouble"
    assert email["value"] == (words(ann) | typed)["email"]
    assert "autofocus" in (password if email["value"] else email)
    assert ann.password not in answer.text


async def test_s33_after_too_many_tries_the_form_says_how_long_to_wait_even_to_who_knows_the_password(
    stranger: httpx2.AsyncClient, ann: Account, db: Database
) -> None:
    for _ in range(FREE):
        assert (await stranger.post("/sign-in", data=words(ann, password="wrong"))).status_code == 401
    await visitors.prolong_waits(db)
    answer = await stranger.post("/sign-in", data=words(ann))
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "Too many tries. Wait" in Page(answer.text).words
    assert Page(answer.text).attributes("form", action="/sign-in")
    async with db.connection() as connection:
        await move_time(connection, timedelta(hours=2))
    assert (await stranger.post("/sign-in", data=words(ann))).status_code == 303


async def test_s33_a_visitor_is_believed_about_its_address_only_through_a_trusted_proxy(
    runtime: Runtime, ann: Account, db: Database
) -> None:
    async def address(trusted: str) -> str:
        settings = Settings(**runtime.settings.model_dump() | {"trusted_proxies": trusted})
        async with serving(replace(runtime, settings=settings)) as (url, _, _), httpx2.AsyncClient() as client:
            headers = visitors.OURS | {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
            answer = await client.post(f"{url}/sign-in", data=words(ann), headers=headers)
            assert answer.status_code == 303
            assert (SECURE_SESSION in answer.headers["set-cookie"]) is bool(trusted)
        async with db.connection() as connection:
            found: str = await connection.fetchval("SELECT address FROM sessions ORDER BY id DESC LIMIT 1")
        return found

    assert await address("") == "127.0.0.1"
    assert await address("127.0.0.1") == "192.0.2.7"


async def test_who_is_signed_in_is_not_asked_again(client: httpx2.AsyncClient, workspace: WorkspaceId) -> None:
    assert (await client.get("/sign-in")).headers["location"] == "/"
    led = (await client.get("/sign-in", params={"next": f"/?workspace={workspace}"})).headers["location"]
    assert led == f"/?workspace={workspace}"


async def test_signing_out_ends_the_session_and_forgets_the_cookie(
    app: FastAPI, client: httpx2.AsyncClient, workspace: WorkspaceId
) -> None:
    token = client.cookies[SESSION]
    assert (await client.get("/")).status_code == 200
    answer = await client.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert given(answer)[SESSION]["max-age"] == "0"
    async with visitors.browser(app) as thief:
        assert (await thief.get("/", headers={"Cookie": f"{SESSION}={token}"})).status_code == 303


async def test_signing_out_of_a_session_that_is_over_leads_to_the_form_all_the_same(
    stranger: httpx2.AsyncClient,
) -> None:
    assert (await stranger.post("/sign-out")).headers["location"] == "/sign-in"


# --- where one comes to

ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "/\t/evil.example/",
    "/\n/evil.example/",
    "javascript:alert(1)",
    "evil.example",
    "@evil.example",
    " //evil.example",
    "",
]


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
async def test_s49_no_link_leads_elsewhere_through_the_form(
    stranger: httpx2.AsyncClient, client: httpx2.AsyncClient, ann: Account, elsewhere: str
) -> None:
    answers = [
        await stranger.post("/sign-in", data=words(ann, next=elsewhere)),
        await client.get("/sign-in", params={"next": elsewhere}),
        await stranger.post("/sign-out", data={"next": elsewhere}),
    ]
    for answer in answers:
        assert answer.status_code == 303
        assert answer.headers["location"] in {"/", "/sign-in"}
    form = Page((await stranger.get("/sign-in", params={"next": elsewhere})).text)
    assert [a["value"] for a in form.attributes("input", name="next")] == ["/"]


async def test_a_field_that_is_too_long_and_a_form_that_is_too_large_are_refused_with_a_sentence(
    stranger: httpx2.AsyncClient, ann: Account
) -> None:
    answer = await stranger.post("/sign-in", data=words(ann, password="x" * 2_001))
    assert answer.status_code == 422
    assert "longer than it may be" in Page(answer.text).words

    async def endless() -> AsyncIterator[bytes]:
        yield b"email=ann%40example.org"
        for n in range(2_000):
            yield b"&f%d=" % n + b"x" * 1_000

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in ("/sign-in", "/sign-in/code", "/sign-out", "/invitations/1"):
        large = await stranger.post(path, content=endless(), headers=headers)
        assert large.status_code == 413, path
        assert "too large" in Page(large.text).words
        known = await stranger.post(path, content=b"a=" + b"x" * 70_000, headers=headers)
        assert known.status_code == 413, path


# --- second factor


@dataclass(frozen=True, slots=True)
class Telephone:
    """An authenticator app, and the paper with the recovery codes."""

    totp: pyotp.TOTP
    used: int
    """The half minute whose code turned it on: that one is worth nothing any more."""
    paper: list[str]

    def next_code(self) -> str:
        """The code of the half minute after it, which is accepted a little early."""
        return self.totp.generate_otp(self.used + 1)


@pytest.fixture
async def telephone(runtime: Runtime, ann: Account, db: Database) -> Telephone:
    totp = pyotp.TOTP((await second_factor.begin(runtime, ann.user_id, ann.password)).secret)
    async with db.connection() as connection:
        now = await connection.fetchval("SELECT fleetcast_now()")
    step = totp.timecode(now)
    return Telephone(totp, step, await second_factor.confirm(runtime, ann.user_id, totp.generate_otp(step)))


async def half(client: httpx2.AsyncClient, ann: Account, following: str = "/") -> httpx2.Response:
    """Sign in as far as the password goes, and look at what is asked next."""
    answer = await client.post("/sign-in", data=words(ann, next=following))
    assert answer.status_code == 303
    assert urlsplit(answer.headers["location"]).path == "/sign-in/code"
    assert int(given(answer)[SESSION]["max-age"]) == CODE_SECONDS
    return await client.get(answer.headers["location"])


async def test_the_code_finishes_a_sign_in_with_another_token(
    stranger: httpx2.AsyncClient, ann: Account, telephone: Telephone, workspace: WorkspaceId
) -> None:
    form = Page((await half(stranger, ann, f"/?workspace={workspace}")).text)
    [field], [hidden] = form.attributes("input", id="code"), form.attributes("input", name="next")
    assert "autofocus" in field
    assert (field["autocomplete"], hidden["value"]) == ("one-time-code", f"/?workspace={workspace}")
    pending = stranger.cookies[SESSION]
    assert (await stranger.get("/")).status_code == 303
    answer = await stranger.post("/sign-in/code", data={"code": telephone.next_code(), "next": hidden["value"] or ""})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/?workspace={workspace}")
    assert given(answer)[SESSION].value != pending
    assert int(given(answer)[SESSION]["max-age"]) == SESSION_SECONDS
    assert (await stranger.get("/")).status_code == 200


async def test_a_recovery_code_does_as_well_and_once(
    app: FastAPI, stranger: httpx2.AsyncClient, ann: Account, telephone: Telephone
) -> None:
    code = telephone.paper[0].upper()
    written = "-".join(code[n : n + 5] for n in range(0, len(code), 5))
    await half(stranger, ann)
    assert (await stranger.post("/sign-in/code", data={"code": f" {written} "})).status_code == 303
    assert (await stranger.get("/")).status_code == 200
    async with visitors.browser(app) as other:
        await half(other, ann)
        assert (await other.post("/sign-in/code", data={"code": written})).status_code == 401
        assert (await other.get("/")).status_code == 303


@pytest.mark.parametrize("code", ["", "000000", "abc", "é" * 6, "١٢٣٤٥٦", "0" * 100])
async def test_a_wrong_code_is_told_in_the_form(
    stranger: httpx2.AsyncClient, ann: Account, telephone: Telephone, code: str
) -> None:
    await half(stranger, ann)
    answer = await stranger.post("/sign-in/code", data={"code": code, "next": "/?workspace=1"})
    page = Page(answer.text)
    assert answer.status_code == 401
    assert "The code is wrong, or was used before." in page.words
    [field] = page.attributes("input", id="code")
    assert field["aria-invalid"] == "true"
    assert (field["aria-describedby"] or "").split() == ["trouble", "rule"]
    assert "autofocus" in field
    [again] = page.attributes("a", href="/sign-in?next=/%3Fworkspace%3D1")
    assert again
    assert (await stranger.post("/sign-in/code", data={"code": telephone.next_code()})).status_code == 303


async def test_s32_codes_are_counted_by_account_and_not_by_sign_in(
    app: FastAPI, ann: Account, telephone: Telephone, db: Database
) -> None:
    for _ in range(FREE):
        async with visitors.browser(app) as fresh:
            await half(fresh, ann)
            assert (await fresh.post("/sign-in/code", data={"code": "000000"})).status_code == 401
    await visitors.prolong_waits(db)
    async with visitors.browser(app) as fresh:
        await half(fresh, ann)
        answer = await fresh.post("/sign-in/code", data={"code": telephone.next_code()})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "Too many tries. Wait" in Page(answer.text).words


async def test_a_code_without_a_password_before_it_opens_nothing(
    stranger: httpx2.AsyncClient, ann: Account, telephone: Telephone, db: Database
) -> None:
    for cookie in ("", f"{SESSION}=fcs_unknown"):
        answer = await stranger.post(
            "/sign-in/code", data={"code": telephone.next_code()}, headers={"Cookie": cookie} if cookie else {}
        )
        assert answer.status_code == 401
        page = Page(answer.text)
        assert "Enter your password again." in page.words
        assert page.attributes("form", action="/sign-in")
    await half(stranger, ann)
    async with db.connection() as connection:
        await move_time(connection, timedelta(seconds=CODE_SECONDS + 1))
    late = await stranger.post("/sign-in/code", data={"code": telephone.paper[0]})
    assert late.status_code == 401
    assert "took too long" in Page(late.text).words


async def test_s20_what_was_typed_comes_back_as_text(stranger: httpx2.AsyncClient) -> None:
    for answer in (
        await stranger.post("/sign-in", data={"email": HOSTILE, "password": "x", "next": f"/{HOSTILE}"}),
        await stranger.get("/sign-in", params={"next": f"/{HOSTILE}"}),
        await stranger.get("/sign-in/code", params={"next": f"/{HOSTILE}"}),
        await stranger.post("/sign-in/code", data={"code": HOSTILE, "next": f"/{HOSTILE}"}),
    ):
        page = Page(answer.text)
        assert not [t for t, _ in page.tags if t in ("img", "hx-partial")]
        assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
        assert [a["value"] for a in page.attributes("input", name="next")] == [f"/{HOSTILE}"]
