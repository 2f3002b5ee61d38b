"""What becomes of the messages that one pump took in, whoever works on them.

A pump hears of it in the replies to its own settlements, and of what other pumps settle in a
stream of its own. Either may be lost on its way; then it asks.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from backends.cancelling import cancel_all, raise_if_cancelled
from backends.contact import Contact, pause_s
from backends.errors import BackendError, CodecError
from backends.mailbox import Answer, Effects, Opened, Settlement
from backends.redis.connection import translated
from backends.redis.keys import escape, unescape
from backends.redis.pipeliner import Pipeliner
from backends.redis.records import Records
from backends.redis.streams import entries_of

log = logging.getLogger(__name__)

#: Entries read at once; fewer after a reply that did not come, for it may have been too large.
MOST = 100


class News:
    """The open scopes that one pump began, and what is heard of them. Used from its event loop.

    Args:
        client: not closed here.
        stream: where other pumps leave word.
        scripts: to ask with.
    """

    def __init__(
        self, client: Any, stream: str, scripts: Pipeliner, records: Records, contact: Contact
    ) -> None:
        #: Called with each piece.
        self.on_news: Callable[[Effects], None] = lambda _: None
        #: Conversation of each open scope that this pump began.
        self.scopes: dict[str, str] = {}
        #: Those of them of which Redis has not said that it has them, and the openings that would
        #: begin each: under one message id there may be several.
        self.entering: dict[str, set[int]] = {}
        #: Whether what others tell must have reached replicas before it is passed on.
        self.must_be_safe = False
        self._client = client
        self._stream = stream
        self._scripts = scripts
        self._records = records
        self._contact = contact
        #: How this pump answered scopes in settlements whose reply may have been lost.
        self._unheard: dict[str, Answer] = {}
        #: Those that were entering when all others were asked about.
        self._unasked: set[str] = set()
        self._asking: set[asyncio.Task[None]] = set()
        #: That which asks about all, and whether its answers may be older than the last loss.
        self._catching_up: asyncio.Task[None] | None = None
        self._must_ask_again = False

    async def read(self, block_ms: int) -> None:
        """Read the stream until cancelled; from its beginning, for what was told is taken out.

        After a failover what is new may have smaller ids than what was read before.

        Args:
            block_ms: longest blocking read; the socket's timeout is longer.
        """
        failures, most = 0, MOST
        while True:
            started = time.monotonic()
            try:
                with translated(self._contact.where):
                    found = await self._client.xread({self._stream: "0"}, most, block_ms)
                self._contact.answered(since=started)
                entries = entries_of(found)
                if not entries:
                    raise_if_cancelled()
                if entries and self.must_be_safe:
                    # Its reply comes when replicas have all that was written before.
                    await self._scripts.run("recall")
                for _, fields in entries:
                    self._tell([fields.get(part, b"") for part in (b"k", b"s", b"a")])
                # Not before it is told: a reply that is lost must not take the news with it.
                with translated(self._contact.where):
                    if entries:
                        await self._client.xdel(self._stream, *(entry for entry, _ in entries))
                failures, most = 0, min(2 * most, MOST)
            except BackendError as exc:
                failures, most = failures + 1, 1
                self._contact.lost(exc, since=started)
                # By now another server may be the primary.
                await self._client.connection_pool.disconnect(inuse_connections=False)
                await asyncio.sleep(pause_s(failures))

    def effects(self, news: Iterable[bytes]) -> Effects:
        """What a script tells: kind, subject and answer in turn.

        Raises:
            CodecError: an answer, or its subject, is not ours.
        """
        effects = Effects([], [], [])
        rows = iter(news)
        for kind, subject, record in zip(rows, rows, rows, strict=True):
            try:
                name = unescape(subject)
            except UnicodeDecodeError as exc:
                raise CodecError("news are of a subject that is not UTF-8") from exc
            if kind == b"answered":
                effects.answered.append((name, self._records.open_answer(name, record)))
            elif kind == b"closed":
                self._forget(name)
                effects.closed_scopes.append(name)
            elif kind == b"ended":
                effects.closed_conversations.append(name)
        return effects

    def doubt(self, settlement: Settlement, *, may_be_ours: bool) -> None:
        """It had been settled before.

        Args:
            may_be_ours: by this pump, perhaps, which did not hear of it.
        """
        scope = settlement.taken.scope
        if scope in self.scopes:
            if settlement.answers and may_be_ours:
                self._unheard[scope] = settlement.answers[0]
            self._ask({scope: self.scopes[scope]})

    def ask(self) -> None:
        """News may have been lost: ask what became of every scope that Redis has had."""
        if self._catching_up is not None:
            # Where connections break without end, such questions would leave room for nothing else.
            self._must_ask_again = True
            return
        self._unasked |= self.entering.keys()
        known = {name: conv for name, conv in self.scopes.items() if name not in self.entering}
        if known:
            self._catching_up = self._ask(known)
            self._catching_up.add_done_callback(self._caught_up)

    def _caught_up(self, asking: asyncio.Task[None]) -> None:
        must_ask_again, self._must_ask_again = self._must_ask_again, False
        self._catching_up = None
        if must_ask_again and not asking.cancelled():
            self.ask()

    def enter(self, scope: str, conversation: str, number: int) -> None:
        """An opening is on its way that begins *scope*, unless another has begun it."""
        if scope not in self.scopes:
            self.scopes[scope], self.entering[scope] = conversation, {number}
        elif scope in self.entering:
            self.entering[scope].add(number)

    def entered(self, opened: Opened) -> None:
        """Redis has said that it has the scope."""
        scope = opened.scope
        self.entering.pop(scope, None)
        if opened.is_closed:
            self._forget(scope)
        elif scope in self.scopes:
            self.scopes[scope] = opened.conversation
            if scope in self._unasked:
                self._unasked.discard(scope)
                self._ask({scope: opened.conversation})

    def turned_back(self, scope: str, number: int) -> None:
        """Nobody awaits any more whether this opening has begun *scope*."""
        numbers = self.entering.get(scope, set())
        if number in numbers:
            numbers.discard(number)
            if not numbers:
                self._forget(scope)

    async def stop(self) -> None:
        """Ask nothing more."""
        await cancel_all(self._asking)

    def _ask(self, scopes: dict[str, str], *, is_second: bool = False) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._recall(scopes, is_second=is_second))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _recall(self, scopes: dict[str, str], *, is_second: bool) -> None:
        asked = [escape(part) for scope, conv in scopes.items() for part in (conv, scope)]
        found = iter(await self._scripts.run("recall", *asked))
        gone = {}
        for scope, (state, record) in zip(scopes, zip(found, found, strict=True), strict=True):
            name = escape(scope).encode()
            if record:
                self._tell([b"answered", name, record])
            is_gone = state != b"open" and scope in self.scopes
            if is_gone and not record and not is_second:
                gone[scope] = scopes[scope]
                continue
            unheard = self._unheard.pop(scope, None)
            is_forgotten = is_gone and state == b"unknown"
            if is_forgotten and not record and unheard is not None:
                # If it was another pump that answered it, this pump has heard that by its stream.
                self.on_news(Effects([(scope, unheard)], [], []))
            if is_forgotten:
                self._forget(scope)
                self.on_news(Effects([], [scope], [], unknown_scopes=[scope]))
            elif is_gone:
                self._tell([b"closed", name, b""])
        if gone:
            # This pump may have answered in a settlement that was sent after the question, and
            # before it was sent again: by the next reply that will be known.
            self._ask(gone, is_second=True)

    def _forget(self, scope: str) -> None:
        self.scopes.pop(scope, None)
        self.entering.pop(scope, None)
        self._unasked.discard(scope)

    def _tell(self, news: list[bytes]) -> None:
        try:
            self.on_news(self.effects(news))
        except CodecError as exc:
            log.error(  # noqa: TRY400 - a forged record needs no traceback of ours
                "record refused", extra={"action": "quarantine", "reason": str(exc)}
            )
