"""The mailbox: where a message waits until its hop is done, and how hops are counted.

A *hop* is one run of one handler. Every message belongs to a *scope*: an injected
message opens one, and so does each member of a scatter. A scope counts its messages
that wait or run, plus one for every member scope still open below it; at zero it is
closed. So the end of a conversation is known, not guessed.
"""

from collections.abc import Awaitable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from backends.protocol import SlotRecord


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message on its way. `payload` is opaque here."""

    #: Derived from the hop that sent it, so a hop that runs again sends the same ids.
    id: str
    conversation: str
    scope: str
    chain: str
    thread_id: str
    #: The listener, or the copy of one that shares its name.
    to: str
    from_id: str
    payload: bytes
    #: 1 on the first run.
    attempt: int = 1
    #: True for what came in at the door, not from a handler.
    is_from_outside: bool = False
    #: Seconds since the epoch, by its sender's clock; 0 where nobody said.
    sent_at: float = 0.0
    #: The trace it belongs to; opaque here.
    trace: bytes | None = None


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a scope was answered: a payload, or an error as a payload."""

    is_error: bool
    payload: bytes
    #: Of a scatter's member: the trace of the hop that answered; opaque here.
    trace: bytes | None = None


class Scatter(msgspec.Struct, frozen=True, array_like=True):
    """Members to run, each in a scope of its own, and whom to tell when all are done.

    `reply_to` is an envelope without payload; the mailbox hands it back in `Gathering`.
    """

    reply_to: Envelope
    members: list[Envelope]


class Gathering(msgspec.Struct, frozen=True, array_like=True):
    """A scatter all of whose members are done; taken and settled like a message.

    `answers` has one entry per member, None where it ended without answering.
    """

    reply_to: Envelope
    answers: list[Answer | None]

    @property
    def scope(self) -> str:
        """The scatterer's scope."""
        return self.reply_to.scope

    @property
    def is_from_outside(self) -> bool:
        """Never: a scatter begins with a handler."""
        return False


class Hop(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one hop did, kept with its conversation for whoever asks later."""

    id: str
    to: str
    from_id: str
    thread_id: str
    chain: str
    #: The payload class's wire name.
    payload_type: str
    #: The host and process that ran the handler.
    place: str
    attempt: int
    #: Seconds since the epoch.
    started_at: float
    duration_s: float
    #: An error code; empty where the handler completed.
    error: str = ""


class Returned(msgspec.Struct, frozen=True, gc=False):
    """A message whose handler was dispatched, and what came of it; settled like the message.

    `envelope` has no payload left where the handler completed.
    """

    dispatch_id: str
    envelope: Envelope
    #: As the worker wrote it; None where no worker could.
    outcome: bytes | None
    #: What the worker did.
    hop: Hop | None = None
    #: Why there is no outcome: `killed` (its handler kills its worker) or `no_worker`.
    reason: str = ""
    #: Each death: `host:pid`, a space and how it ended, as far as that is known; and when, in
    #: seconds since the epoch.
    history: list[tuple[str, float]] = []

    @property
    def scope(self) -> str:
        """The message's scope."""
        return self.envelope.scope

    @property
    def is_from_outside(self) -> bool:
        """What has begun goes on before anything new."""
        return False


Work = Envelope | Gathering | Returned


class Letter(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A dead letter: a message set aside after its last attempt, and why."""

    envelope: Envelope
    code: str
    reason: str
    #: Seconds since the epoch.
    died_at: float
    #: Each process its handler killed, as `Returned` tells it.
    history: list[tuple[str, float]] = []


class Opening(msgspec.Struct, frozen=True, gc=False):
    """A message from outside, with the slots to write as it enters.

    More than one envelope where listeners share the name. All have one scope.
    """

    envelopes: Sequence[Envelope]
    slots: Sequence[SlotRecord]
    #: Deduplicates: a second opening with the same id joins the first one's scope.
    message_id: str | None = None


class Opened(msgspec.Struct, frozen=True, gc=False):
    """What became of an opening."""

    conversation: str
    scope: str
    is_duplicate: bool = False
    #: True when this opened the conversation, or opened it again.
    is_new: bool = True
    #: For a duplicate: whether the first one's scope has ended, and its answer.
    is_closed: bool = False
    answer: Answer | None = None


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """Everything one hop does to the system; applied in one step, or not at all."""

    taken: Envelope | Gathering
    slots: list[SlotRecord]
    sends: list[Envelope]
    scatters: list[Scatter]
    #: Answers to the scope of *taken*; the first one a scope gets counts.
    answers: list[Answer]
    #: Kept by mailboxes that outlive the process.
    hop: Hop | None = None
    letter: Letter | None = None


class Effects(msgspec.Struct, gc=False):
    """What a settlement brought about outside the messages themselves."""

    #: Root scopes that got their first answer.
    answered: list[tuple[str, Answer]]
    #: Root scopes that closed, answered or not.
    closed_scopes: list[str]
    closed_conversations: list[str]
    #: Answers nobody waited for any more.
    dropped_answers: int = 0
    #: Of the closed scopes those whose conversation the store knows nothing of.
    unknown_scopes: list[str] = []


class Mailbox(Protocol):
    """Where messages wait. Used from one event loop.

    Any method may raise `BackendUnavailableError`.
    """

    @property
    def waiting(self) -> int:
        """Messages that wait to be taken, as far as this process knows."""
        ...

    @property
    def open_conversations(self) -> int:
        """Conversations with work waiting or running."""
        ...

    @property
    def window(self) -> int:
        """How many messages one pump may hold untaken work of at a time."""
        ...

    @property
    def is_durable(self) -> bool:
        """True when what waits outlives this process, and hops and letters are kept."""
        ...

    async def start(self) -> None:
        """Begin to serve; called once."""
        ...

    async def open(self, opening: Opening) -> Opened:
        """Accept messages from outside; once this returns they are kept.

        Raises:
            BufferFullError: the thread has no room for the slot; nothing was stored.
        """
        ...

    async def take(self, limit: int) -> list[Work]:
        """Wait until something can be taken; at least one, at most *limit*, oldest first."""
        ...

    def take_ready(self, limit: int) -> list[Work]:
        """What can be taken without waiting; may be nothing."""
        ...

    def settle(self, settlement: Settlement) -> Awaitable[Effects]:
        """Apply everything a hop did in one step.

        What is settled before any of it is awaited may travel together.

        Raises:
            BufferFullError: a thread has no room for its slots; nothing was applied.
        """
        ...

    async def defer(self, envelope: Envelope, delay_s: float) -> None:
        """Put a taken message back, to be taken again after *delay_s* seconds."""
        ...

    async def stop(self) -> int:
        """Stop serving; how many waiting messages are lost with it."""
        ...


class TaskMessage(NamedTuple):
    """What carries one hop to the workers; opaque here."""

    #: The key of the list that they take messages from, the oldest at its right end.
    queue: str
    message: bytes


@runtime_checkable
class Carrier(Protocol):
    """Who can tell a ledger how to send a hop to the workers itself. Used from one event loop."""

    def message_for(self, listener: str, dispatch_id: str) -> TaskMessage | None:
        """What would carry a dispatch of *listener*; None where the ledger can't send it."""
        ...

    def was_sent(self, listener: str, dispatch_id: str) -> None:
        """The ledger has sent it."""
        ...


class Ledger(Protocol):
    """Where a mailbox keeps the hops that run elsewhere. Used from one event loop."""

    #: Listeners whose messages are handed over as they are sent, and what a worker must advertise.
    fingerprints: dict[str, str]

    async def dispatch(self, envelope: Envelope, fingerprint: str) -> None:
        """Hand a taken message over to the workers; it comes back as `Returned`.

        Args:
            fingerprint: what a worker must advertise to run it.
        """
        ...
