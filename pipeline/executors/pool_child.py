"""What runs inside a pool process: one event loop, one codec, one context buffer."""

import asyncio
import importlib
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import connection, parent_process
from multiprocessing.util import Finalize
from typing import Any

import msgspec

from backends import BackendConfig, SharedBackend
from backends.codec import Codec, Format
from backends.factory import create_backend
from pipeline.context_buffer import ContextBuffer, use_context_buffer
from pipeline.messages import HandlerMetadata
from pipeline.thread_registry import ThreadRegistry, use_registry
from pipeline.tracing import export_traces, flush, spans_of_process
from pipeline.worker import Call, Handler, Outcome, failure_of, run_call

#: What ends a whole process group, from a terminal or a supervisor: the pump's to act on.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class ChildSetup:
    """What a child is told once: how to decode, and where the conversations are."""

    #: Modules whose dataclasses may come off the wire.
    modules: tuple[str, ...]
    backend: BackendConfig
    signing_keys: tuple[str | bytes, ...] = field(default=(), repr=False)
    realm: str = ""
    format: Format = "msgpack"
    #: What traces call this service; empty where tracing is off.
    service: str = ""


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """One call, as it crosses to a child."""

    listener: str
    handler_module: str
    handler_name: str
    payload: bytes
    metadata: HandlerMetadata
    #: The trace of its hop, whose span is the pump's.
    trace: bytes | None = None


ticket_encoder = msgspec.msgpack.Encoder()
outcome_decoder: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)
_ticket_decoder = msgspec.msgpack.Decoder(Ticket)


class _Child:
    """The state of this process; made by the first call it gets."""

    def __init__(self, setup: ChildSetup) -> None:
        self.codec = Codec(keys=setup.signing_keys, realm=setup.realm, format=setup.format)
        for name in setup.modules:
            self.codec.types.declare_module(importlib.import_module(name))
        self.backend: SharedBackend = create_backend(setup.backend)
        use_context_buffer(ContextBuffer(self.backend, self.codec))
        use_registry(ThreadRegistry(self.backend))
        self.runner = asyncio.Runner()
        if setup.service:
            # For handlers' own spans, unless a module of theirs has seen to it.
            export_traces(setup.service)
        self.spans = spans_of_process() if setup.service else None
        if self.spans is not None:
            # What ends here by itself runs no function of `atexit`.
            Finalize(None, flush, exitpriority=0)

    def run(self, call: Call) -> Outcome:
        """Run one call to its end."""
        started = time.monotonic()
        try:
            return run_call(call, self.codec, self.runner)
        except BaseException as exc:  # noqa: BLE001 - as in `run_handler`
            # The loop lets some through from any task of it, and is of no more use. No signal of
            # ours raises them; passed on, they would end the pump.
            self.runner.close()
            self.runner = asyncio.Runner()
            return failure_of(call, exc, time.monotonic() - started)


_child: _Child | None = None
#: How many tickets this process has begun; shared with the parent.
_begun: Any = None


def adopt(begun: Any) -> None:
    """Take the counter by which the parent knows what ran when this process dies."""
    global _begun  # noqa: PLW0603 - the process's own state
    _begun = begun


def prepare(setup: ChildSetup) -> int:
    """Make this process ready for calls; its pid."""
    global _child  # noqa: PLW0603 - the process's own state
    for number in SIGNALS:
        # Neither ignored nor blocked, as at birth: what a handler starts would inherit that.
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_follow_parent, daemon=True, name="follow parent").start()
    _child = _Child(setup)
    return os.getpid()


def run_ticket(data: bytes) -> bytes:
    """Run one encoded `Ticket` to its end; the encoded `Outcome`."""
    if _child is None:
        raise RuntimeError("prepare() was not called in this process")
    _begun.value += 1
    ticket = _ticket_decoder.decode(data)
    handler = _resolve(ticket.handler_module, ticket.handler_name)
    call = Call(ticket.listener, handler, ticket.payload, ticket.metadata)
    if _child.spans is None:
        outcome = _child.run(call)
    else:
        with _child.spans.within(ticket.trace):
            outcome = _child.run(call)
    return msgspec.msgpack.encode(outcome)


@cache
def _resolve(module_name: str, qualified_name: str) -> Handler:
    module = importlib.import_module(module_name)
    if _child is not None:
        _child.codec.types.declare_module(module)
    target: Any = module
    for part in qualified_name.split("."):
        target = getattr(target, part)
    handler: Handler = target
    return handler


def _follow_parent() -> None:
    """End this process when its parent is gone, however it went."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
