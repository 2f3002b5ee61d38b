"""What a history tells of the processes that a handler killed.

Each is `host:pid` and, where that is known, a space and how it ended. It is one text so that
pumps and workers of an earlier version can read what later ones write.
"""

from collections.abc import Iterable


def parts_of(process: str) -> tuple[str, str]:
    """Where a process ran, and how it ended.

    >>> parts_of("host:17 SIGKILL"), parts_of("host:17")
    (('host:17', 'SIGKILL'), ('host:17', ''))
    """
    where, _, ending = process.partition(" ")
    return where, ending


def endings_in(history: Iterable[tuple[str, float]]) -> str:
    """How they ended, each way once, in brackets after a space; empty where nobody knows.

    >>> endings_in([("host:17 SIGKILL", 1.0), ("host:18 SIGKILL", 2.0)])
    ' (SIGKILL)'
    """
    told = dict.fromkeys(ending for process, _ in history if (ending := parts_of(process)[1]))
    return f" ({', '.join(told)})" if told else ""
