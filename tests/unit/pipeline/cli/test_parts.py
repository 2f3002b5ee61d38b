"""Processes that one command starts and ends."""

import os
import signal
import sys
import time

from pipeline.cli.parts import Part, Told, end
from tests.waiting import eventually

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(60)
"""


def test_a_signal_right_after_the_announcement_is_one_more() -> None:
    """It need not wait until the parts have been told, to be heard."""
    part = Part("stubborn", [sys.executable, "-c", STUBBORN], is_muted=True)
    told = Told()
    with told.listening():
        part.start(width=8, colour="cyan")
        os.kill(os.getpid(), signal.SIGINT)
        assert eventually(lambda: told.count == 1)
        told.announced = told.count
        os.kill(os.getpid(), signal.SIGINT)
        assert eventually(lambda: told.count == 2)
        started = time.monotonic()
        end([part], told, patience_s=30)
    assert part.has_ended
    assert time.monotonic() - started < 30
