"""Runs a decoder and sees what it does besides."""

import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.fuzz.targets import TARGETS, Target

#: What decoding bytes must never bring about.
_FORBIDDEN = (
    "import",
    "exec",
    "compile",
    "open",
    "pickle.find_class",
    "marshal.loads",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
    "ctypes.dlopen",
)
#: Characters of an error: it may be logged, shown, or sent to a caller.
MAX_ERROR_CHARS = 2000

_deeds: list[str] = []
_is_watching = False


def _hook(event: str, args: tuple[object, ...]) -> None:
    if _is_watching and event in _FORBIDDEN:
        _deeds.append(f"{event} {str(args)[:200]}")


@contextmanager
def _nothing_done() -> Iterator[None]:
    global _is_watching  # noqa: PLW0603 - an audit hook can't be removed, only told to look away
    _deeds.clear()
    _is_watching = True
    try:
        yield
    finally:
        _is_watching = False
    assert not _deeds, _deeds


def decode(target: Target, data: bytes) -> Exception | None:
    """Run one decoder; how it refused, or None.

    Raises:
        AssertionError: it did something besides, or says too much.
        Exception: whatever is not its one error.
    """
    refused = None
    with _nothing_done():
        try:
            target.run(data)
        except target.refusal as exc:
            refused = exc
    if refused is not None:
        longest = max(str(refused).splitlines(), key=len, default="")
        assert len(longest) <= MAX_ERROR_CHARS, f"an error of {len(longest)} characters"
    return refused


def cost(target: Target, data: bytes) -> tuple[int, float]:
    """Most bytes that decoding takes beyond its input, and seconds."""
    tracemalloc.start()
    started = time.process_time()
    try:
        decode(target, data)
        return tracemalloc.get_traced_memory()[1], time.process_time() - started
    finally:
        tracemalloc.stop()


def warm_up() -> None:
    """Let everything import what it needs at its first use."""
    for target in TARGETS.values():
        for seed in target.seeds:
            with suppress(target.refusal):
                target.run(seed)


warm_up()
sys.addaudithook(_hook)
