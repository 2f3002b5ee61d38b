"""Processes that one command starts and ends."""

import os
import signal

from pipeline.cli.parts import Part, Told, end
from tests.waiting import eventually


def test_a_signal_right_after_the_announcement_is_one_more() -> None:
    """It need not wait until the parts have been told, to be heard."""
    part = Part("stubborn", ["sleep", "600"])
    told = Told()
    with told.listening():
        # What is ignored here is ignored by what starts from here.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        part.start(width=8, colour="cyan")
        os.kill(os.getpid(), signal.SIGINT)
        assert eventually(lambda: told.count == 1)
        told.announced = told.count
        os.kill(os.getpid(), signal.SIGINT)
        assert eventually(lambda: told.count == 2)
        end([part], told, patience_s=300)
    assert part.has_ended
