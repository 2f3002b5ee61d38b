"""Processor time: of whole sessions, with what of them has ended, and of the whole machine."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
#: Where these stand in /proc/PID/stat behind the command's name. Source: proc(5).
_STATE, _SESSION = 0, 3
#: User and system time; both again of children that have ended and been waited for.
_TIMES = slice(11, 15)
#: Of the first line of /proc/stat: user, nice and system time; interrupts; and what other machines
#: on the same hardware took.
_BUSY = (1, 2, 3, 6, 7, 8)


def session_of(leader: int) -> list[int]:
    """The processes of a session that live, its leader included."""
    return [pid for pid, words in _living() if int(words[_SESSION]) == leader]


def processor_s(leaders: Iterable[int]) -> float:
    """Seconds that these sessions have used, user and system."""
    wanted = set(leaders)
    ticks = sum(
        sum(int(word) for word in words[_TIMES])
        for _, words in _living()
        if int(words[_SESSION]) in wanted
    )
    return ticks / _TICKS_PER_S


def machine_busy_s() -> float:
    """Seconds that all processors together were in use since the machine started."""
    words = Path("/proc/stat").read_text().partition("\n")[0].split()
    return sum(int(words[index]) for index in _BUSY) / _TICKS_PER_S


def _living() -> Iterator[tuple[int, list[str]]]:
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):
            words = (path / "stat").read_text().rpartition(")")[2].split()
            if words[_STATE] != "Z":
                yield int(path.name), words
