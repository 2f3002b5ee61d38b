"""Signals around an event loop that waits."""

import asyncio
import os
import signal
import threading

import pytest

from pipeline.cli.interrupts import SIGNALS, Interrupts


@pytest.mark.timeout(30)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_another_thread_wakes_the_loop(number: signal.Signals) -> None:
    """The system may pick any; the main thread alone acts, and waits for what never comes."""
    former = [signal.getsignal(each) for each in SIGNALS]
    begin, begun = os.pipe()

    def strike() -> None:
        os.read(begin, 1)
        signal.pthread_kill(threading.get_ident(), number)

    async def interrupted() -> int:
        drained = asyncio.Event()
        striker = threading.Thread(target=strike)
        with Interrupts(drained.set, drained.set) as interrupts:
            striker.start()
            asyncio.get_running_loop().call_soon(os.write, begun, b"x")
            await drained.wait()
        striker.join()
        return interrupts.count

    try:
        for _ in range(20):
            assert asyncio.run(interrupted()) == 1
    finally:
        os.close(begin)
        os.close(begun)
    assert [signal.getsignal(each) for each in SIGNALS] == former
    assert signal.set_wakeup_fd(-1) == -1
