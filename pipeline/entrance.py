"""What comes in from outside: checked before anything is stored, and planned."""

import asyncio
from typing import Any

from backends import chains
from backends.codec import Codec
from backends.contact import pause_s
from backends.errors import BackendUnavailableError, CodecError
from backends.mailbox import Opening
from pipeline.errors import PayloadTooLargeError, PayloadTypeError, PipelineError
from pipeline.roster import check_type
from pipeline.routing import Router, scope_named
from pipeline.thread_registry import ThreadRegistry


class Entrance:
    """Turns messages from outside into openings.

    Args:
        max_payload_bytes: the longest encoded payload let in.
        is_patient: wait for a registry that is away; it comes back.
    """

    def __init__(
        self,
        router: Router,
        codec: Codec,
        registry: ThreadRegistry,
        *,
        max_payload_bytes: int,
        is_patient: bool,
    ) -> None:
        self._router = router
        self._codec = codec
        self._registry = registry
        self._max_payload_bytes = max_payload_bytes
        self._is_patient = is_patient

    async def known_chain(self, thread_id: str, to: str) -> str | None:
        """The chain of a conversation to go on with; None where this is a new one's name.

        Raises:
            PipelineError: a message to *to* can't be answered there.
            BackendClosedError: the pump has stopped.
        """
        chain = await self._chain_of(thread_id)
        if chain is None:
            return None
        if chains.conversation_of(chain) != thread_id:
            raise PipelineError(f"thread {thread_id!r} is not a conversation's own; omit thread_id")
        if chains.last_hop(chain) != to:
            raise PipelineError(
                f"thread {thread_id!r} is a conversation with {chains.last_hop(chain)!r};"
                f" omit thread_id to begin one with {to!r}"
            )
        return chain

    async def _chain_of(self, thread_id: str) -> str | None:
        failures = 0
        while True:
            try:
                return await asyncio.to_thread(self._registry.lookup, thread_id)
            except BackendUnavailableError:
                if not self._is_patient:
                    raise
                failures += 1
                await asyncio.sleep(pause_s(failures))

    def opening(  # noqa: PLR0913 - a message from outside has that many sides
        self,
        to: str,
        payload: Any,
        from_id: str,
        *,
        thread_id: str | None,
        chain: str | None,
        message_id: str | None,
    ) -> Opening:
        """The message as it will enter.

        Args:
            thread_id: its conversation; None begins one without a name.
            chain: what that stands for, if it is known already.

        Raises:
            UnknownListenerError, PayloadTypeError, PayloadTooLargeError: as `inject`.
        """
        for _, listener in self._router.roster.named(to):
            check_type(type(payload), listener, from_id)
        data = self._encode(payload)
        new_id = chains.new_thread_id()
        conversation = thread_id or new_id
        if chain is None:
            root = self._registry.root_chain
            chain = chains.conversation_chain(root, conversation, from_id, to)
        else:
            # A conversation that goes on is its first asker's.
            from_id = chains.last_hop(chain.rpartition(".")[0])
        return self._router.plan_opening(
            to,
            data,
            from_id=from_id,
            thread_id=conversation,
            chain=chain,
            scope=scope_named(message_id) if message_id else new_id,
            message_id=message_id,
        )

    def _encode(self, payload: Any) -> bytes:
        try:
            data = self._codec.encode(payload)
            # What can't be read back must be refused here, not fail on its way.
            self._codec.decode(data)
        except CodecError as exc:
            raise PayloadTypeError(str(exc)) from exc
        if len(data) > self._max_payload_bytes:
            raise PayloadTooLargeError(
                f"{type(payload).__name__} is {len(data)} bytes,"
                f" over limits.max_payload_bytes ({self._max_payload_bytes})"
            )
        return data
