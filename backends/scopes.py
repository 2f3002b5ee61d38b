"""Scopes in memory: pure bookkeeping of what is open, answered and gathered."""

from collections.abc import Iterable

import msgspec

from backends.mailbox import (
    Answer,
    Effects,
    Envelope,
    Gathering,
    Opened,
    Opening,
    Scatter,
    Settlement,
)

Local = Envelope | Gathering


class Conversation(msgspec.Struct, eq=False, gc=False):
    """A conversation, its open root scopes and every thread it has written to."""

    id: str
    open_scopes: int = 0
    #: In the order of their first message; a dict of text costs the garbage collector nothing.
    threads: dict[str, None] = {}
    message_ids: tuple[str, ...] = ()


class _Gather(msgspec.Struct, eq=False, gc=False):
    reply_to: Envelope
    answers: list[Answer | None]
    remaining: int


class _Scope(msgspec.Struct, eq=False, gc=False):
    id: str
    conversation: Conversation
    parent: "_Scope | None" = None
    gather: _Gather | None = None
    position: int = 0
    #: Messages waiting or running, and member scopes open below.
    units: int = 0
    is_settled: bool = False
    answer: Answer | None = None


class ScopeTable:
    """Every open scope of one process, and the conversations that are kept.

    Not safe from several threads; nothing here waits.
    """

    def __init__(self) -> None:
        self._scopes: dict[str, _Scope] = {}
        #: Root scopes by message id, kept as long as their conversation.
        self._by_message_id: dict[str, _Scope] = {}
        self.conversations: dict[str, Conversation] = {}
        self.open_count = 0

    def find_duplicate(self, message_id: str | None) -> Opened | None:
        """The earlier opening with this message id, if it is still kept."""
        scope = self._by_message_id.get(message_id) if message_id is not None else None
        if scope is None:
            return None
        return Opened(
            scope.conversation.id,
            scope.id,
            is_duplicate=True,
            is_new=False,
            is_closed=scope.units == 0,
            answer=scope.answer,
        )

    def open(self, opening: Opening) -> Opened:
        """Count the messages of *opening* in; it must be no duplicate."""
        first = opening.envelopes[0]
        conversation_id, scope_id = first.conversation, first.scope
        conversation = self.conversations.get(conversation_id)
        if conversation is None:
            conversation = self.conversations[conversation_id] = Conversation(conversation_id)
        is_new = not conversation.open_scopes
        self.open_count += is_new
        conversation.open_scopes += 1
        for slot in opening.slots:
            conversation.threads[slot.thread_id] = None
        scope = _Scope(scope_id, conversation, units=len(opening.envelopes))
        self._scopes[scope_id] = scope
        if opening.message_id is not None:
            self._by_message_id[opening.message_id] = scope
            conversation.message_ids += (opening.message_id,)
        return Opened(conversation_id, scope_id, is_new=is_new)

    def apply(self, settlement: Settlement) -> tuple[list[Local], Effects]:
        """Count one hop: the work that can be taken now, and what else came of it."""
        scope = self._scopes[settlement.taken.scope]
        for slot in settlement.slots:
            scope.conversation.threads[slot.thread_id] = None
        ready: list[Local] = [*settlement.sends]
        effects = Effects([], [], [])
        scope.units += len(ready)
        for scatter in settlement.scatters:
            ready += self._open_members(scope, scatter)
        for answer in settlement.answers:
            if not self._settle(scope, answer, ready, effects):
                effects.dropped_answers += 1
        if scope.units > 1:
            scope.units -= 1
        else:
            self._close(scope, ready, effects)
        return ready, effects

    def _open_members(self, parent: _Scope, scatter: Scatter) -> list[Local]:
        count = len(scatter.members)
        gather = _Gather(scatter.reply_to, [None] * count, count)
        if not count:
            parent.units += 1
            return [Gathering(gather.reply_to, [])]
        parent.units += count
        for position, member in enumerate(scatter.members):
            self._scopes[member.scope] = _Scope(
                member.scope, parent.conversation, parent, gather, position, units=1
            )
        parent.conversation.threads.update((member.thread_id, None) for member in scatter.members)
        return list(scatter.members)

    def _settle(
        self, scope: _Scope, answer: Answer | None, ready: list[Local], effects: Effects
    ) -> bool:
        """Give *scope* its answer; false if it has one. None settles a silent member."""
        if scope.is_settled:
            return False
        scope.is_settled = True
        gather = scope.gather
        if gather is None:
            scope.answer = answer
            if answer is not None:
                effects.answered.append((scope.id, answer))
            return True
        gather.answers[scope.position] = answer
        gather.remaining -= 1
        if not gather.remaining:
            self._scopes[gather.reply_to.scope].units += 1
            ready.append(Gathering(gather.reply_to, gather.answers))
        return True

    def _close(self, scope: _Scope, ready: list[Local], effects: Effects) -> None:
        """Take the last unit off *scope* and close it, and so on upwards."""
        current: _Scope | None = scope
        while current is not None:
            current.units -= 1
            if current.units:
                return
            self._settle(current, None, ready, effects)
            del self._scopes[current.id]
            if current.parent is None:
                self._close_root(current, effects)
            current = current.parent

    def _close_root(self, scope: _Scope, effects: Effects) -> None:
        effects.closed_scopes.append(scope.id)
        conversation = scope.conversation
        conversation.open_scopes -= 1
        if not conversation.open_scopes:
            self.open_count -= 1
            effects.closed_conversations.append(conversation.id)

    def open_threads(self) -> list[str]:
        """Every thread of every open conversation."""
        return [
            thread_id
            for conversation in self.conversations.values()
            if conversation.open_scopes
            for thread_id in conversation.threads
        ]

    def forget(self, conversation_id: str) -> Iterable[str]:
        """Drop a closed conversation and its message ids; its threads."""
        conversation = self.conversations.pop(conversation_id)
        for message_id in conversation.message_ids:
            self._by_message_id.pop(message_id, None)
        return conversation.threads
