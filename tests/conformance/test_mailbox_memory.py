"""The mailbox of one process fulfils the contract, over a store that blocks or does not."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from backends import BackendConfig, InMemoryBackend
from backends.mailbox import Mailbox
from backends.memory_mailbox import MemoryMailbox
from backends.protocol import Backend
from tests.conformance.mailbox_contract import MAX_SLOTS, MailboxContract, OpenMailbox


class OverMemory(MailboxContract):
    offload = False

    @pytest.fixture
    def backend(self) -> Backend:
        return InMemoryBackend(BackendConfig(max_slots_per_thread=MAX_SLOTS))

    @pytest.fixture
    async def open_mailbox(self, backend: Backend) -> AsyncIterator[OpenMailbox]:
        async with AsyncExitStack() as stack:

            async def open_mailbox(*, keep_closed: int = 100) -> Mailbox:
                mailbox = MemoryMailbox(
                    backend, ttl_s=60, keep_closed=keep_closed, offload=self.offload
                )
                await mailbox.start()
                stack.push_async_callback(mailbox.stop)
                return mailbox

            yield open_mailbox


class TestInline(OverMemory):
    pass


class TestOffloaded(OverMemory):
    offload = True
