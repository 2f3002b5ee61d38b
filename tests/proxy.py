"""A TCP proxy that is as bad as a network can be: it freezes, loses answers, breaks connections."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65536


class Proxy:
    """Relays to one loopback port from another, in a thread of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._answers_flow = True
        self._is_closing = False
        #: Words of commands, and what each is answered.
        self._doomed: list[tuple[bytes, bytes]] = []
        self._most_bytes = sys.maxsize
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accept, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]

    def lead_to(self, target: int) -> None:
        """Relay new connections to another port; those there are go on as they are."""
        self._target = target

    def freeze(self) -> None:
        """Accept, and relay nothing."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def thaw(self) -> None:
        """Relay again, what came meanwhile first."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def cut(self) -> None:
        """Break every connection; new ones are accepted."""
        self._loop.call_soon_threadsafe(self._cut)

    def cut_answers(self, after_s: float) -> None:
        """Relay what is sent and not what is answered, and break every connection after a while.

        So commands run, and whoever sent them does not hear of it.
        """
        self._loop.call_soon_threadsafe(self._swallow)
        self._loop.call_soon_threadsafe(self._loop.call_later, after_s, self._cut)

    def lose_answer_to(self, words: bytes) -> None:
        """Let the next command that has these bytes run, and break its connection in reply."""
        self.answer(words, b"")

    def answer(self, words: bytes, answer: bytes) -> None:
        """Let the next command that has these bytes run, and put this in the place of its reply."""
        self._loop.call_soon_threadsafe(self._doomed.append, (words, answer))

    def carry_at_most(self, size: int) -> None:
        """Break each connection before it is sent more than so many bytes."""
        self._most_bytes = size

    @property
    def has_lost(self) -> bool:
        """True when every answer that was to be lost has been."""
        return not self._doomed

    def stop(self) -> None:
        """End the thread, and every connection with it."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _swallow(self) -> None:
        self._answers_flow = False

    def _cut(self) -> None:
        self._answers_flow = True
        for writer in self._writers:
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        # Whoever waits to be let through goes.
        self._is_closing = True
        self._flows.set()
        await asyncio.sleep(0)
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._flows.wait()
            if self._is_closing:
                writer.transport.abort()
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        foreign: asyncio.Future[bytes] = self._loop.create_future()
        for relay in (
            self._relay_commands(reader, far_writer, foreign),
            self._relay_answers(far_reader, writer, foreign),
        ):
            task = self._loop.create_task(relay)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _relay_commands(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        foreign: asyncio.Future[bytes],
    ) -> None:
        carried = 0
        with suppress(OSError):
            while chunk := await source.read(_CHUNK):
                await self._flows.wait()
                carried += len(chunk)
                if carried > self._most_bytes:
                    break
                doomed = [each for each in self._doomed if each[0] in chunk]
                if doomed and not foreign.done():
                    self._doomed.remove(doomed[0])
                    foreign.set_result(doomed[0][1])
                sink.write(chunk)
                await sink.drain()
        sink.transport.abort()
        self._writers.discard(sink)

    async def _relay_answers(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        foreign: asyncio.Future[bytes],
    ) -> None:
        with suppress(OSError):
            while chunk := await source.read(_CHUNK):
                await self._flows.wait()
                if foreign.done():
                    if not foreign.result():
                        break
                    # Whoever is told that hangs up; the rest is silence.
                    sink.write(foreign.result())
                    await sink.drain()
                    return
                if self._answers_flow:
                    sink.write(chunk)
                    await sink.drain()
        sink.transport.abort()
        self._writers.discard(sink)


@contextmanager
def running_proxy(target: int) -> Iterator[Proxy]:
    """A proxy to a loopback port."""
    proxy = Proxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
