"""The timer signal that ends handlers, in a process whose handlers use signals themselves."""

import subprocess
import sys

SCRIPT = """
import os, signal, time
from pipeline import HandlerMetadata
from pipeline.worker import Call, TimeLimitError
from tasks import time_limit

def work(payload, metadata):
    pass

def overran(seconds):
    start = time.monotonic()
    try:
        with limit.watch(call, given_up.append):
            handle(seconds)
    except TimeLimitError:
        return time.monotonic() - start < seconds
    return False

def sleep(seconds):
    while seconds > 0:
        time.sleep(0.01)
        seconds -= 0.01

time_limit.SIGNALS_TURN_S = 0.5
call = Call("work", work, b"", HandlerMetadata("t", "external"), 0.1)
limit, given_up = time_limit.TimeLimit(), []
"""


def run(case: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + case],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.strip()


def test_a_handler_may_leave_a_handler_of_signals() -> None:
    """Whoever comes next in this process is ended in time, and the process lives."""
    told = run(
        """
for left in (signal.SIG_IGN, signal.SIG_DFL, lambda *_: None):
    handle = lambda _: signal.signal(signal.SIGALRM, left)
    overran(0)
    handle = sleep
    print(overran(0.4), given_up)
"""
    )
    assert told.splitlines() == ["True []"] * 3


def test_it_may_strike_as_the_handler_ends() -> None:
    """That run is over then: what is run next must not lose its process for it."""
    told = run(
        """
set_timer = signal.setitimer

def set_and_strike(which, seconds):
    set_timer(which, seconds)
    if not seconds:
        os.kill(os.getpid(), signal.SIGALRM)

signal.setitimer, handle = set_and_strike, lambda _: None
overran(1)
signal.setitimer = set_timer
sleep(1.0)
print(given_up)
"""
    )
    assert told == "[]"
