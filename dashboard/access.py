"""Who may ask: everybody on this host while the API listens on loopback only, else who has the token.

Every response carries headers that keep a browser from running, framing or leaking anything of it. On loopback the Host header
must name this host, so that a page from elsewhere cannot have its own name resolved to it (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.answers import Refusal
from dashboard.json_answer import reply
from model.errors import PipelineError

COOKIE = "dlms_dashboard"
LOGIN = "/login"
SHORTEST_TOKEN = 16
"""Characters; a shorter one can be guessed."""

COOKIE_SECONDS = 30 * 86400
GUESS_SECONDS = 0.5
"""How long the answer to a wrong token takes."""

_LARGEST_FORM = 4096
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_OPEN_TO_ALL = (LOGIN, "/login.css")
_CSS = """:root{color-scheme:light dark}
:root{--ground:#f3f5f8;--surface:#fff;--line:#768396;--ink:#17202b;--accent:#0a5bb8;--on:#fff;--bad:#bb1f1a}
@media (prefers-color-scheme:dark){
:root{--ground:#10151c;--surface:#18202a;--line:#7d8b9d;--ink:#e7edf4;--accent:#74b4ff;--on:#07121f;--bad:#ff8b82}}
body{font:1rem/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:1rem}
body{background:var(--ground);color:var(--ink)}
form{display:grid;gap:.75rem;width:min(24rem,100%);padding:1.5rem;background:var(--surface);border-radius:10px}
h1{font-size:1.4rem;margin:0}label{font-weight:600}p{color:var(--bad);margin:0}
input,button{font:inherit;padding:.5rem;border:1px solid var(--line);border-radius:8px;background:var(--surface);color:var(--ink)}
button{background:var(--accent);border-color:var(--accent);color:var(--on);font-weight:600;cursor:pointer}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
"""
_WORDS = {
    "en": ("Sign in", "Access token", "Open", "That is not the token."),
    "es": ("Iniciar sesión", "Token de acceso", "Abrir", "Ese no es el token."),
}


class AccessError(PipelineError):
    """The API must not be offered in this way."""


def is_loopback(host: str) -> bool:
    """Whether only this host can reach a server that listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in _LOOPBACK_NAMES


def token_for(host: str, given: str | None, file: Path | None) -> str | None:
    """The token that is asked for when listening on `host`; None on loopback where none is given.

    :arg given: the value of DASHBOARD_TOKEN. :arg file: holds the token as its only line.
    :raises AccessError: none is given and others can reach `host`, or it is of no use; says what to do.
    """
    token = _read(file) if file is not None else (given or "").strip()
    if not token:
        if is_loopback(host):
            return None
        raise AccessError(
            f"listening on {host} shows meters and their readings to everybody who can reach it, and no token is set",
            "set DASHBOARD_TOKEN or --token-file to a secret of your own (openssl rand -hex 32), or listen on 127.0.0.1",
        )
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise AccessError(
            f"the dashboard's token is too short or has odd characters; {SHORTEST_TOKEN} printable ASCII characters are the least",
            "make one: openssl rand -hex 32",
        )
    return token


def _read(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise AccessError(f"the token file {file} cannot be used: {reason}", "make it a file this user may read") from error
    if not token:
        raise AccessError(f"the token file {file} is empty", "put the token on its first line: openssl rand -hex 32")
    return token


class Gate:
    """ASGI middleware that lets requests pass, or answers them itself.

    :arg token: what is asked for; None lets everybody pass who reaches us.
    :arg check_host: whether the Host header must name this host.
    """

    def __init__(self, app: ASGIApp, token: str | None, check_host: bool) -> None:
        self._app = app
        self._token = token
        self._check_host = check_host
        self._key = secrets.token_bytes(32) if token is None else hashlib.sha256(b"dashboard cookie " + token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send)
        refused = await self._refusal(Request(scope, receive))
        if refused is not None:
            await refused(scope, receive, guarded)
        elif scope["method"] == "HEAD":
            await self._head(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    async def _refusal(self, request: Request) -> Response | None:
        """The answer that is given here; None to let the request pass."""
        path = request.url.path
        if self._check_host and not is_loopback(_host(request.headers)):
            detail = "the Host header does not name this host; open the page as http://127.0.0.1 or http://localhost"
            return reply(Refusal(detail=detail), 400)
        if path == LOGIN:
            return await self._login(request)
        if request.method not in ("GET", "HEAD"):
            refused = reply(Refusal(detail="this API only reads; GET and HEAD are all there is"), 405)
            refused.headers["Allow"] = "GET, HEAD"
            return refused
        if path == "/login.css":
            return Response(_CSS, media_type="text/css")
        if self._token is None or self._knows(request):
            return None
        if "text/html" in request.headers.get("accept", "") and path == "/":
            return RedirectResponse(LOGIN, 303)
        refused = reply(Refusal(detail="a token is needed: Authorization: Bearer TOKEN, or sign in at /login"), 401)
        refused.headers["WWW-Authenticate"] = 'Bearer realm="dashboard"'
        return refused

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The headers of what GET would answer. A stream has no end to wait for, so it is not begun."""
        if scope["path"] == "/events":
            await Response(media_type="text/event-stream", headers={"Cache-Control": "no-store"})(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            elif not message.get("more_body"):
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET"}, receive, without_body)

    def _knows(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(given.strip())
        return self._is_cookie(_cookie(request.headers))

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    async def _login(self, request: Request) -> Response:
        """The form, and what it sends. Nothing is stored: the cookie proves by itself that its holder knew the token."""
        if self._token is None:
            return RedirectResponse("/", 303)
        if request.method in ("GET", "HEAD"):
            return _form(request, wrong=False)
        if request.method != "POST":
            return reply(Refusal(detail="GET shows the form, POST takes the token"), 405)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST_FORM:
                return reply(Refusal(detail="the form is too large"), 413)
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if not self._is_token(given):
            await asyncio.sleep(GUESS_SECONDS)
            return _form(request, wrong=True)
        response = RedirectResponse("/", 303)
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        response.set_cookie(COOKIE, self._new_cookie(), max_age=COOKIE_SECONDS, httponly=True, samesite="strict", secure=secure, path="/")
        return response

    def _new_cookie(self) -> str:
        until = str(int(time.time()) + COOKIE_SECONDS)
        return f"{until}.{self._signature(until)}"

    def _is_cookie(self, cookie: str) -> bool:
        until, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(until).encode()):
            return False
        return until.isascii() and until.isdigit() and int(until) > time.time()

    def _signature(self, until: str) -> str:
        return hmac.new(self._key, until.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return guarded


def _host(headers: Headers) -> str:
    """The name in the Host header, without its port."""
    host = headers.get("host", "")
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] or host


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _form(request: Request, *, wrong: bool) -> Response:
    language = "es" if _prefers_spanish(request.headers.get("accept-language", "").split(",")) else "en"
    title, label, button, refusal = _WORDS[language]
    note = f'<p role="alert">{refusal}</p>' if wrong else ""
    return HTMLResponse(
        f'<!doctype html><html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{title}</title><link rel="stylesheet" href="/login.css"><form method="post" action="{LOGIN}"><h1>{title}</h1>{note}'
        f'<label for="token">{label}</label>'
        '<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>'
        f"<button>{button}</button></form></html>",
        401 if wrong else 200,
        headers={"Cache-Control": "no-store"},
    )


def _prefers_spanish(languages: Iterable[str]) -> bool:
    for language in languages:
        if language.strip().lower().startswith(("es", "en")):
            return language.strip().lower().startswith("es")
    return False
