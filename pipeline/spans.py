"""What a trace shows of hops: OpenTelemetry's spans, after its conventions for messaging.

Imported where tracing is on, and nowhere else; knows OpenTelemetry's API and no SDK. No payload
and no text of an exception reaches a span: an exception's text may quote a payload.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import structs
from opentelemetry import context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from backends.mailbox import Envelope, Opening
from pipeline.deaths import parts_of
from pipeline.messages import ErrorCode, ErrorMessage
from pipeline.roster import name_of
from pipeline.station import place
from pipeline.trace_context import Carried, Context, pack, unpack
from pipeline.worker import Failed, Outcome

#: `messaging.system`, and the namespace of what the conventions have no name for.
SYSTEM = "celery_pump"
_Value = str | int | float
#: The exception's class, before its text: what `traceback.format_exception_only` begins with.
_EXCEPTION = re.compile(r"[A-Za-z_][\w.<>]*(?=:|\n|$)")


class Spans:
    """Begins and ends the spans of one process."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def sending(self, opening: Opening) -> Iterator[Opening]:
        """A message enters from outside, in the trace of whoever sends it or in a new one."""
        first = opening.envelopes[0]
        span = self._tracer.start_span(
            f"send {name_of(first.to)}",
            kind=SpanKind.PRODUCER,
            attributes=_told("send", first),
        )
        trace = _carried(span)
        envelopes = [structs.replace(each, trace=trace) for each in opening.envelopes]
        try:
            yield structs.replace(opening, envelopes=envelopes)
        except BaseException as exc:
            _blame(span, type(exc).__qualname__)
            raise
        finally:
            span.end()

    def enter(self, envelope: Envelope, *, batch_size: int = 1, deaths: int = 0) -> "HopSpan":
        """A handler begins: spans that it begins itself are below the one returned.

        Args:
            batch_size: how many hops came in the same message to a worker.
            deaths: how many processes have died of this hop.
        """
        told = _told("process", envelope)
        told[f"{SYSTEM}.attempt"] = envelope.attempt + deaths
        told[f"{SYSTEM}.place"] = place()
        if batch_size > 1:
            told[f"{SYSTEM}.batch_size"] = batch_size
        carried = unpack(envelope.trace)
        if envelope.sent_at:
            told[f"{SYSTEM}.wait_s"] = max(0.0, time.time() - envelope.sent_at)
        return HopSpan(self._begin("process", envelope, carried, told), envelope)

    def set_aside(
        self, envelope: Envelope, error: ErrorMessage, history: Sequence[tuple[str, float]] = ()
    ) -> Envelope:
        """What a handler did can't be applied, or no handler did anything: a span of the pump's.

        Args:
            history: each process its handler killed, and when.

        Returns:
            *envelope*; what is sent on its behalf has the span as its parent.
        """
        told = _told("settle", envelope)
        told[f"{SYSTEM}.attempt"] = max(envelope.attempt, len(history))
        span = self._begin("settle", envelope, unpack(envelope.trace), told)
        for where, died_at in history:
            ran_at, ending = parts_of(where)
            about = {f"{SYSTEM}.place": ran_at} | ({f"{SYSTEM}.ending": ending} if ending else {})
            span.add_event("process died", about, int(died_at * 1e9))
        _blame(span, error.code)
        span.end()
        return structs.replace(envelope, trace=_carried(span))

    def current(self) -> bytes | None:
        """The trace at hand, for what is sent from here."""
        span = get_current_span()
        return _carried(span) if span.get_span_context().is_valid else None

    @contextmanager
    def within(self, trace: bytes | None) -> Iterator[None]:
        """Spans begun inside belong below the span that *trace* names, which is elsewhere."""
        carried = unpack(trace)
        token = context.attach(_below(carried))
        try:
            yield
        finally:
            context.detach(token)

    def _begin(
        self, operation: str, envelope: Envelope, carried: Carried | None, told: dict[str, _Value]
    ) -> Span:
        return self._tracer.start_span(
            f"{operation} {name_of(envelope.to)}",
            _below(carried),
            SpanKind.CONSUMER if operation == "process" else SpanKind.INTERNAL,
            told,
            [Link(_span_context(each)) for each in carried.links] if carried else None,
        )


class HopSpan:
    """The span of one hop while its handler runs. It is the current one until `leave`."""

    def __init__(self, span: Span, envelope: Envelope) -> None:
        self._span = span
        self._token = context.attach(set_span_in_context(span))
        self._is_inside = self._is_running = True
        #: Its own, with what goes on from here.
        self._envelope = envelope

    @property
    def envelope(self) -> Envelope:
        """The hop's envelope; what is sent on its behalf has this span as its parent."""
        return structs.replace(self._envelope, trace=_carried(self._span))

    def end(self, outcome: Outcome) -> None:
        """The handler's run is over. May be called from another thread."""
        if isinstance(outcome, Failed):
            self._span.set_attribute(f"{SYSTEM}.outcome", "failed")
            _blame(self._span, _error_type(outcome.error), outcome.error.code)
        else:
            self._span.set_attribute(f"{SYSTEM}.outcome", "completed")
        self._is_running = False
        self._span.end()

    def leave(self) -> None:
        """Make the span current no longer; it has been given up if nobody ended it."""
        if self._is_inside:
            self._is_inside = False
            context.detach(self._token)
        if self._is_running:
            self._is_running = False
            self._span.set_attribute(f"{SYSTEM}.outcome", "abandoned")
            self._span.end()

    def finish(self, outcome: Outcome) -> Envelope:
        """End it and leave it; its envelope."""
        self.end(outcome)
        self.leave()
        return self.envelope


def _told(operation: str, envelope: Envelope) -> dict[str, _Value]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": name_of(envelope.to),
        "messaging.message.id": envelope.id,
        "messaging.message.conversation_id": envelope.conversation,
        f"{SYSTEM}.thread_id": envelope.thread_id,
    }


def _carried(span: Span) -> bytes:
    own = span.get_span_context()
    parent = Context(own.trace_id, own.span_id, own.trace_flags)
    state = own.trace_state.to_header() if own.trace_state else ""
    return pack(Carried(parent, state=state))


def _below(carried: Carried | None) -> context.Context:
    """Where a span goes that *carried* is the parent of; at the top of a new trace without it."""
    if carried is None:
        return context.Context()
    parent = NonRecordingSpan(_span_context(carried.parent, carried.state))
    return set_span_in_context(parent, context.Context())


def _span_context(each: Context, state: str = "") -> SpanContext:
    trace_state = TraceState.from_header([state]) if state else None
    return SpanContext(
        each.trace_id,
        each.span_id,
        is_remote=True,
        trace_flags=TraceFlags(each.flags),
        trace_state=trace_state,
    )


def _blame(span: Span, error_type: str, description: str | None = None) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR, description)


def _error_type(error: ErrorMessage) -> str:
    """The exception's class where a handler raised one, else the error's code."""
    if error.code == ErrorCode.RAISED and (found := _EXCEPTION.match(error.message)):
        return found[0]
    return error.code
