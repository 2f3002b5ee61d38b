"""HTTP: which question of the page is answered by what."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from backends.errors import BackendError, BackendUnavailableError, LetterNotFoundError
from pipeline.cli.console.access import Guard, Keys, refusal
from pipeline.cli.console.desk import STATES, Desk, Question
from pipeline.cli.console.live import MOST_PAGES, Live
from pipeline.version import __version__

#: Rows of one page of a list; bytes of what a request may carry; characters of an id.
MOST_ROWS, MOST_BODY_BYTES, MOST_CHARS = 200, 4096, 1000
#: Questions that Redis is asked at once.
_AT_ONCE = 4
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

_Endpoint = Callable[[Request], Awaitable[Response]]


class _BadRequestError(Exception):
    """A question we can't read."""


class Console:
    """The console of one organism, as an ASGI application: `.app`.

    Args:
        desk: answers; closed by whoever opened it.
        keys: who may come in.
        port: where it will listen.
        organism: its name.
        hosts: names it may be called by.
    """

    def __init__(  # noqa: PLR0913 - what a console is made of
        self,
        desk: Desk,
        keys: Keys,
        *,
        port: int,
        organism: str,
        hosts: Iterable[str] = (),
        is_read_only: bool = False,
    ) -> None:
        self._desk, self._keys, self._port = desk, keys, port
        self._organism, self._is_read_only = organism, is_read_only
        self._places = asyncio.Semaphore(_AT_ONCE)
        self.live = Live(desk.overview)
        inner = Starlette(routes=[*self._routes(), *_static()], lifespan=self._lifespan)
        self.app: ASGIApp = Guard(inner, keys, port=port, hosts=hosts, is_read_only=is_read_only)

    def _routes(self) -> Iterable[Route]:
        yield Route("/api/session", self._session, methods=["GET", "POST"])
        # Not a function, for Starlette to hand it the bare connection.
        yield Route("/api/events", _Events(self.live), methods=["GET"])
        questions = {
            "conversations": self._conversations,
            "conversation": self._conversation,
            "messages": self._messages,
            "underway": self._underway,
            "letters": self._letters,
        }
        for name, question in questions.items():
            yield Route(f"/api/{name}", self._answered(question), methods=["GET"])
        for name, action in {"replay": self._replay, "drop": self._drop}.items():
            yield Route(f"/api/letters/{name}", self._answered(action), methods=["POST"])

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> Any:  # noqa: ARG002 - Starlette's signature
        await self.live.start()
        try:
            yield
        finally:
            await self.live.stop()

    def _answered(self, question: Callable[[Request], Awaitable[Any]]) -> _Endpoint:
        """An endpoint that says what *question* returns as JSON, or what is wrong."""

        async def endpoint(request: Request) -> Response:
            try:
                found = await question(request)
            except _BadRequestError as exc:
                return refusal(400, str(exc))
            except LetterNotFoundError as exc:
                return refusal(404, str(exc))
            except BackendUnavailableError as exc:
                return refusal(503, str(exc))
            except BackendError as exc:
                return refusal(409, str(exc))
            if found is None:
                return refusal(404, "nothing of it is kept")
            return Response(msgspec.json.encode(found), media_type="application/json")

        return endpoint

    async def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        async with self._places:
            return await asyncio.to_thread(question, *arguments)

    async def _session(self, request: Request) -> Response:
        if request.method == "POST":
            try:
                token = await _text_of(request, "token")
            except _BadRequestError as exc:
                return refusal(400, str(exc))
            if not self._keys.fits(token):
                return refusal(401, "this is not the token that `pump console` has printed")
        elif not self._keys.admits(request.headers, self._port):
            return refusal(401, "enter the token that `pump console` has printed")
        facts = {
            "organism": self._organism,
            "version": __version__,
            "read_only": self._is_read_only,
        }
        answer = Response(msgspec.json.encode(facts), media_type="application/json")
        if request.method == "POST":
            # As the browser sees it: TLS is a proxy's business, and what it sends here is HTTP.
            is_secure = request.headers.get("origin", "").startswith("https://")
            answer.headers["set-cookie"] = self._keys.cookie(self._port, is_secure=is_secure)
        return answer

    async def _conversations(self, request: Request) -> Any:
        state = request.query_params.get("state", "all")
        if state not in STATES:
            raise _BadRequestError(f"state is one of {', '.join(STATES)}")
        text = request.query_params.get("q", "").strip()[:MOST_CHARS]
        offset, limit = _part(request)
        return await self._ask(self._desk.conversations, Question(state, text, offset, limit))

    async def _conversation(self, request: Request) -> Any:
        return await self._ask(self._desk.conversation, _named(request, "id"))

    async def _messages(self, request: Request) -> Any:
        return await self._ask(self._desk.messages, _named(request, "thread"))

    async def _underway(self, request: Request) -> Any:  # noqa: ARG002 - as the others
        return await self._ask(self._desk.underway)

    async def _letters(self, request: Request) -> Any:
        return await self._ask(self._desk.letters, *_part(request))

    async def _replay(self, request: Request) -> Any:
        letter = await _text_of(request, "letter")
        return {"conversation": await self._ask(self._desk.replay, letter)}

    async def _drop(self, request: Request) -> Any:
        letter = await _text_of(request, "letter")
        await self._ask(self._desk.drop, letter)
        return {"dropped": letter}


class _Events:
    """The stream of changes, as an ASGI application."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._live.pages >= MOST_PAGES:
            await refusal(503, f"{MOST_PAGES} pages are open")(scope, receive, send)
        else:
            await self._live.serve(scope, receive, send)


def _static() -> Iterable[Route]:
    """What is no secret: the page itself. Read once, so no path leads elsewhere."""
    folder = files("pipeline.cli.console") / "static"
    for path in folder.iterdir():
        kind = _TYPES.get(path.name.rpartition(".")[2])
        if kind is not None:
            url = "/" if path.name == "index.html" else f"/static/{path.name}"
            yield Route(url, _served(path.read_bytes(), kind), methods=["GET"])


def _served(body: bytes, kind: str) -> _Endpoint:
    async def endpoint(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        return Response(body, media_type=kind)

    return endpoint


def _part(request: Request) -> tuple[int, int]:
    """Where a part of a list begins, and how long it is."""
    return _number(request, "offset", 0, 10**9), max(1, _number(request, "limit", 50, MOST_ROWS))


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(most)):
        raise _BadRequestError(f"{name} is a number from 0 to {most}")
    return min(int(text), most)


def _named(request: Request, name: str) -> str:
    text = request.query_params.get(name, "")
    if not 0 < len(text) <= MOST_CHARS:
        raise _BadRequestError(f"{name} is missing, or too long")
    return text


async def _text_of(request: Request, name: str) -> str:
    """A text in the JSON that a request carries."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise _BadRequestError(f"at most {MOST_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=dict[str, str])[name]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        raise _BadRequestError(f"a JSON object with a text {name!r}, please") from None
