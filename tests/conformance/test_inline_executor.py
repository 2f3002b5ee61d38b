"""The inline executor fulfils the contract."""

from collections.abc import AsyncIterator

import pytest

from backends.codec import Codec
from pipeline.executors import InlineExecutor
from tests.conformance.executor_contract import ExecutorContract


class TestInline(ExecutorContract):
    @pytest.fixture
    async def executor(self, codec: Codec) -> AsyncIterator[InlineExecutor]:
        executor = InlineExecutor(codec, max_threads=4)
        await executor.start()
        yield executor
        await executor.stop()
