"""Who may use the console, and from where: an ASGI layer around everything it serves.

Against another site in the same browser: the cookie is SameSite=Strict, requests that change
something carry a header that only our own page can set, and a Host header that is neither an
address nor a name we were told is refused, so that no name of theirs can be made ours.
"""

import hmac
import secrets
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Any

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Set by the page on whatever changes something; a form or a link can't.
HEADER = "x-pump-console"
_SAFE = ("GET", "HEAD")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class Keys:
    """The token that lets people in, and the cookie that it is exchanged for.

    Args:
        token: what to be asked for; by default one made up, of 256 bits.
    """

    def __init__(self, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)

    def fits(self, token: str) -> bool:
        """True for the token; takes the same time for any other of its length."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def cookie(self, port: int, *, is_secure: bool) -> str:
        """What a browser is to keep until it is closed."""
        secure = "; Secure" if is_secure else ""
        return f"{self._name(port)}={self._session}; Path=/; HttpOnly; SameSite=Strict{secure}"

    def admits(self, headers: Headers, port: int) -> bool:
        """True when a request carries the cookie, or the token as `Authorization: Bearer`."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.fits(token.strip())
        # As browsers read them. The standard library's parser gives up at the first cookie it finds
        # odd, and whatever else runs on this host may have set one.
        kept = cookie_parser(headers.get("cookie", "")).get(self._name(port), "")
        return hmac.compare_digest(kept.encode(), self._session.encode())

    def _name(self, port: int) -> str:
        # A browser sends cookies to every port of a host.
        return f"pump_console_{port}"


class Guard:
    """Lets through what may pass.

    Args:
        app: behind it.
        keys: who may come in.
        port: where it listens.
        hosts: names it is called by, besides `localhost` and addresses.
        is_read_only: refuse whatever changes something in Redis.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        *,
        port: int,
        hosts: Iterable[str] = (),
        is_read_only: bool = False,
    ) -> None:
        self._app, self._keys, self._port = app, keys, port
        self._hosts = {"localhost", *(host.lower().rstrip(".") for host in hosts)}
        self._is_read_only = is_read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        if not is_known_host(headers.get("host", ""), self._hosts):
            return refusal(421, "this console is not called so; name it with --allow-host")
        is_safe = method in _SAFE
        if not is_safe and not _is_from_our_page(headers):
            return refusal(403, "this request does not come from the console's own page")
        if path.startswith("/api/"):
            return self._refusal_of_question(headers, path, is_safe=is_safe)
        return None

    def _refusal_of_question(
        self, headers: Headers, path: str, *, is_safe: bool
    ) -> Response | None:
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            # It can't read the answer; but another port of this host is sent our cookie, and could
            # have Redis asked, or hold streams open.
            return refusal(403, "another site's page may not ask")
        if path == "/api/session":
            return None
        if not self._keys.admits(headers, self._port):
            return refusal(401, "open the URL that `pump console` has printed, or enter its token")
        if not is_safe and self._is_read_only:
            return refusal(403, "this console is read-only")
        return None


def refusal(status: int, text: str) -> Response:
    """An error as the page reads it."""
    body = msgspec.json.encode({"error": text})
    return Response(body, status, media_type="application/json")


def is_known_host(header: str, names: Collection[str]) -> bool:
    """True where a Host header is an address, or one of *names*.

    >>> is_known_host("127.0.0.1:8642", ()), is_known_host("[::1]:8642", ())
    (True, True)
    >>> is_known_host("localhost:8642", ("localhost",)), is_known_host("evil.example", ())
    (True, False)
    """
    if header.startswith("["):
        host, bracket, rest = header[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return False
    else:
        host = header.partition(":")[0]
    host = host.lower().rstrip(".")
    return host in names or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_from_our_page(headers: Headers) -> bool:
    origin: Any = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return False
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    return headers.get(HEADER) == "1"
