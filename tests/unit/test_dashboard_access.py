from __future__ import annotations

import asyncio
from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from dashboard import access
from dashboard.access import COOKIE, AccessError, Gate, is_loopback, token_for

TOKEN = "0123456789abcdef-token"

Ask = Callable[..., httpx.Response]


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    await PlainTextResponse(f"{request.method} {request.url.path}")(scope, receive, send)


def asks(token: str | None, *, check_host: bool) -> Ask:
    gate = Gate(inside, token, check_host)

    def ask(path: str = "/overview", method: str = "GET", base: str = "http://127.0.0.1:8080", **more: object) -> httpx.Response:
        async def once() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url=base) as client:
                return await client.request(method, path, **more)  # type: ignore[arg-type]

        return asyncio.run(once())

    return ask


@pytest.fixture
def on_loopback() -> Ask:
    return asks(None, check_host=True)


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.setattr(access, "GUESS_SECONDS", 0.0)
    return asks(TOKEN, check_host=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert token_for(host, None, None) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "meters.example.org", "", "127.0.0.1.example.org"])
def test_other_addresses_are_refused_without_a_token(host: str) -> None:
    with pytest.raises(AccessError) as refused:
        token_for(host, "", None)
    assert "no token is set" in refused.value.what
    assert "DASHBOARD_TOKEN" in refused.value.remedy and "127.0.0.1" in refused.value.remedy


def test_a_token_comes_from_the_file_before_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert token_for("0.0.0.0", "another-token-of-sufficient-length", file) == TOKEN
    assert token_for("127.0.0.1", TOKEN, None) == TOKEN


@pytest.mark.parametrize(("content", "what"), [(None, "cannot be used"), ("", "is empty"), ("s3cret", "too short"), ("ñ" * 20, "odd")])
def test_a_token_of_no_use_is_refused_and_not_shown(tmp_path: Path, content: str | None, what: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(AccessError) as refused:
        token_for("127.0.0.1", None, file)
    assert what in refused.value.what and refused.value.remedy
    assert not content or content not in str(refused.value)


@pytest.mark.parametrize("base", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080"])
def test_a_host_header_of_this_host_passes(on_loopback: Ask, base: str) -> None:
    assert on_loopback(base=base).text == "GET /overview"


@pytest.mark.parametrize(
    "base", ["http://evil.example.org:8080", "http://127.0.0.1.example.org", "http://192.0.2.7", "http://[2001:db8::1]:1"]
)
def test_another_host_header_is_refused(on_loopback: Ask, base: str) -> None:
    answer = on_loopback(base=base)
    assert answer.status_code == 400 and "localhost" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_only_reading_is_possible(on_loopback: Ask, method: str) -> None:
    answer = on_loopback(method=method)
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD"


def test_head_is_get_without_a_body(on_loopback: Ask) -> None:
    answer = on_loopback(method="HEAD")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "13")


def test_head_of_the_stream_ends(on_loopback: Ask) -> None:
    assert on_loopback("/events", "HEAD").headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("path", ["/overview", "/login", "/login.css", "/nothing"])
def test_every_answer_has_the_security_headers(with_token: Ask, path: str) -> None:
    headers = with_token(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-token-of-the-same-length"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": "Bearer"},
        {"authorization": b"Bearer \xff\xfe"},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}=99999999999.{'0' * 64}"},
        {"cookie": f"{COOKIE}="},
        {"cookie": b"\xff=\xfe; ;;"},
    ],
)
def test_without_the_token_nothing_is_told(with_token: Ask, headers: dict[str, str]) -> None:
    answer = with_token(headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text


def test_with_the_token_everything_is_told(with_token: Ask) -> None:
    assert with_token(headers={"authorization": f"bearer  {TOKEN}"}).text == "GET /overview"


def test_the_login_gives_a_cookie_that_opens_the_page(with_token: Ask) -> None:
    assert with_token("/", headers={"accept": "text/html"}).headers["location"] == "/login"
    assert 'type="password"' in with_token("/login").text
    signed_in = with_token("/login", "POST", data={"token": TOKEN})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
    cookie = SimpleCookie(signed_in.headers["set-cookie"])[COOKIE]
    assert cookie["httponly"] and cookie["samesite"] == "strict" and TOKEN not in cookie.value
    assert with_token(headers={"cookie": f"{COOKIE}={cookie.value}"}).text == "GET /overview"
    until, _, signature = cookie.value.partition(".")
    assert with_token(headers={"cookie": f"{COOKIE}={int(until) + 1}.{signature}"}).status_code == 401


def test_a_cookie_ends(with_token: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = SimpleCookie(with_token("/login", "POST", data={"token": TOKEN}).headers["set-cookie"])[COOKIE].value
    now = access.time.time()
    monkeypatch.setattr(access.time, "time", lambda: now + access.COOKIE_SECONDS + 1)
    assert with_token(headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 401


def test_behind_tls_the_cookie_stays_there(with_token: Ask) -> None:
    signed_in = with_token("/login", "POST", data={"token": TOKEN}, headers={"x-forwarded-proto": "https"})
    assert "Secure" in signed_in.headers["set-cookie"]


@pytest.mark.parametrize("form", [{"token": "wrong"}, {"other": TOKEN}, {}])
def test_a_wrong_login_says_so_in_the_readers_language(with_token: Ask, form: dict[str, str]) -> None:
    answer = with_token("/login", "POST", data=form, headers={"accept-language": "es-ES,en;q=0.5"})
    assert answer.status_code == 401 and "Ese no es el token." in answer.text and "set-cookie" not in answer.headers


def test_a_form_of_any_size_is_not_read(with_token: Ask) -> None:
    assert with_token("/login", "POST", content=b"token=" + b"x" * 100_000).status_code == 413


def test_on_loopback_there_is_nothing_to_sign_in_to(on_loopback: Ask) -> None:
    answer: Response | httpx.Response = on_loopback("/login")
    assert answer.headers["location"] == "/"
