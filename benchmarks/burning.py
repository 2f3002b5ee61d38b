"""The work that every contestant's handlers do; standard library only."""

import os
import time

#: Characters each message carries.
PAYLOAD_CHARS = 200
PAYLOAD = "x" * PAYLOAD_CHARS


def burn(milliseconds: float) -> None:
    """Use so much of a processor: time that others have taken away does not count."""
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        pass


def answer(number: int, milliseconds: float) -> list[int]:
    """Burn, then say which message this was, and which process ran it."""
    if milliseconds:
        burn(milliseconds)
    return [number, os.getpid()]
