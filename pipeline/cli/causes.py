"""Why runs of a conversation failed: from what their callers, or whoever asked, were told."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from backends import chains
from backends.mailbox import Hop
from backends.redis.archive import Conversation
from backends.redis.survey import Survey
from pipeline.cli.faults import Fault, faults_of
from pipeline.roster import name_of

#: Threads that are read, and messages of each, the latest.
MOST_THREADS, MOST_MESSAGES = 20, 200


def causes_of(found: Conversation, survey: Survey) -> dict[str, Fault]:
    """The fault of each failed run whose caller was told one, by the hop's id.

    Calls that can't be told apart have one if all were told the same.
    """
    failed = [hop for hop in found.hops if hop.error]
    told: dict[tuple[str, str, int], set[Fault]] = defaultdict(set)
    for fault in _told(found, failed, survey) if failed else ():
        told[fault.listener, fault.code, fault.attempt].add(fault)
    causes: dict[str, Fault] = {}
    for hop in failed:
        among = told.get((name_of(hop.to), hop.error, hop.attempt), set())
        if len(among) == 1:
            (causes[hop.id],) = among
    return causes


def _told(found: Conversation, failed: Sequence[Hop], survey: Survey) -> Iterator[Fault]:
    for answer in found.answers.values():
        if answer is not None and answer.is_error:
            yield from faults_of(answer.payload)
    threads = {hop.chain: hop.thread_id for hop in found.hops}
    callers = dict.fromkeys(
        thread for hop in failed if (thread := _thread_above(hop.chain, threads)) is not None
    )
    for thread in list(callers)[:MOST_THREADS]:
        for each in survey.messages(thread, MOST_MESSAGES):
            if each is not None:
                yield from faults_of(each[1])


def _thread_above(chain: str, threads: Mapping[str, str]) -> str | None:
    """The thread of the nearest caller that has run."""
    caller = chains.caller_of(chain)
    while caller is not None and caller not in threads:
        caller = chains.caller_of(caller)
    return None if caller is None else threads[caller]
