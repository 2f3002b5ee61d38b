"""Answers what the page asks, from Redis, and remembers what can't change any more. Blocking."""

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from backends.codec import Codec
from backends.errors import CodecError, LetterNotFoundError
from backends.redis.keys import unescape
from backends.redis.survey import Brief, Indexed, Standing, Survey, WorkerLease
from pipeline.cli.console.facts import (
    Detail,
    LetterFacts,
    ListenerFacts,
    Message,
    PumpFacts,
    Row,
    Underway,
    WorkerFacts,
    graph_of,
    letter_of,
    row_of,
    run_of,
    underway_of,
)
from pipeline.cli.console.memory import Memory
from pipeline.cli.console.redaction import Rule, Summary, summarise
from pipeline.cli.console.sampling import Meter, Sample
from pipeline.cli.trees import lines_of, tree_of
from pipeline.organism import Organism
from pipeline.station import fingerprint_of
from pipeline.stations import codec_of

log = logging.getLogger(__name__)

#: Conversations that one question looks through for those it asks for, and how many at a time.
MOST_EXAMINED, STEP = 1000, 100
#: Conversations that have just ended, and open ones, whose runs one look takes in.
_FRESH, _OPEN = 100, 20
#: Runs of one conversation that are shown, messages of one thread, and its dead letters.
MOST_RUNS, MOST_MESSAGES, MOST_LETTERS = 2000, 60, 200
#: A conversation that took so long to read is not read again for so many times as long.
_PATIENCE = 10
_REMEMBERED = 5000
#: States that only the conversation itself can tell.
_TOLD_STATES = ("answered", "failed", "closed")
STATES = ("all", "open", "ended", *_TOLD_STATES)


@dataclass(frozen=True)
class Question:
    """Which conversations are asked for."""

    #: One of `STATES`.
    state: str = "all"
    #: Part of an id or of a listener's name, or the id of a thread; empty for all.
    text: str = ""
    offset: int = 0
    limit: int = 50

    def wants(self, row: Row) -> bool:
        """True for a conversation in a state that is asked for."""
        return self.state in ("all", row.state) or (self.state == "ended" and row.state != "open")

    def fits(self, row: Row) -> bool:
        """True for a conversation that is asked for."""
        text = self.text
        is_named = not text or text in row.id or any(text in each for each in row.listeners)
        return is_named and self.wants(row)


@dataclass(frozen=True)
class Page:
    """A part of a list."""

    rows: list[Row]
    #: Where the next part begins; None at the end.
    next: int | None
    #: Of the list as a whole, before any filter that has to look into conversations.
    total: int
    #: Conversations that were looked into to find these.
    examined: int


@dataclass(frozen=True)
class LetterPage:
    """A part of the dead letters."""

    rows: list[LetterFacts]
    next: int | None
    total: int


class Desk:
    """Answers questions.

    Args:
        organism: over Redis.
        rule: what may be told of payloads and errors.
    """

    def __init__(self, organism: Organism, rule: Rule) -> None:
        self._organism = organism
        self._codec: Codec = codec_of(organism)
        self._survey = Survey(organism.backend, self._codec)
        self._rule = rule
        self._fingerprints = {
            listener.name: fingerprint_of(listener)
            for listener in organism.listeners
            if listener.cpu_bound and listener.executor in (None, "celery")
        }
        self._sample, self._meter = Sample(), Meter()
        self._seen_until = 0.0
        self._ended: Memory[Indexed, Row] = Memory(_REMEMBERED)
        self._letters: Memory[str, LetterFacts] = Memory(_REMEMBERED)
        self._details: Memory[str, tuple[float, Indexed, Detail]] = Memory(20)
        self._nodes: dict[str, str] = {}

    def close(self) -> None:
        """Close the connection."""
        self._survey.close()

    def overview(self) -> dict[str, Any]:
        """What changes from moment to moment, by section. Called by one thread at a time."""
        standing = self._survey.standing()
        pumps, workers = self._survey.pumps_and_workers()
        self._nodes = {worker.id: worker.node for worker in workers}
        self._take_in()
        self._meter.add(standing.counts)
        now = time.time()
        live = [worker for worker in workers if worker.left_ms > 0]
        return {
            "standing": asdict(standing),
            "rates": asdict(self._meter.rates(self._sample.lately(now))),
            "listeners": [asdict(each) for each in self._listeners(live, now)],
            "pumps": [asdict(PumpFacts(p.id, p.held, round(p.left_ms / 1000))) for p in pumps],
            "workers": [asdict(self._worker(each)) for each in workers],
            "marks": _marks(standing),
        }

    def conversations(self, asked: Question) -> Page:
        """Conversations that fit, open ones first, each the newest first."""
        standing = self._survey.standing()
        are_open = {"all": None, "open": True}.get(asked.state, False)
        sizes = {None: standing.open + standing.closed, True: standing.open}
        total = sizes.get(are_open, standing.closed)
        offset, limit = asked.offset, asked.limit
        if asked.text or asked.state in _TOLD_STATES:
            return self._filtered(asked, total, are_open=are_open)
        entries = self._survey.indexed(are_open=are_open, offset=offset, limit=limit)
        is_all = len(entries) < limit or offset + limit >= total
        return Page(self._rows(entries), None if is_all else offset + limit, total, len(entries))

    def conversation(self, name: str) -> Detail | None:
        """One conversation by its id, or by that of a thread; None where nothing is kept."""
        entry = self._found(name)
        if entry is None:
            return None
        name = unescape(entry.name)
        known = self._details.get(name)
        began = time.monotonic()
        if known and known[1] == entry and began < known[0]:
            return known[2]
        detail = self._read(name)
        if detail is not None:
            took = time.monotonic() - began
            self._details.put(name, (began + took * (1 + _PATIENCE), entry, detail))
        return detail

    def messages(self, thread: str) -> list[Message]:
        """The latest messages of a thread, the oldest first."""
        return [
            Message(
                metadata.from_id,
                metadata.to_id,
                metadata.timestamp,
                self._told_of(typed),
            )
            for each in self._survey.messages(thread, MOST_MESSAGES)
            if each is not None
            for metadata, typed in (each,)
        ]

    def underway(self) -> list[Underway]:
        """What workers run, and what waits for one."""
        return [underway_of(each, self._nodes) for each in self._survey.at_work()]

    def letters(self, offset: int, limit: int) -> LetterPage:
        """Dead letters, the newest first."""
        total = self._survey.standing().letters
        ids = self._survey.letter_ids(offset, limit)
        following = offset + limit if offset + limit < total else None
        return LetterPage(list(self._told(ids)), following, total)

    def replay(self, letter_id: str) -> str:
        """Let a dead letter run again; the id of its conversation.

        Raises:
            LetterNotFoundError: there is none with this id.
            BackendError: it can't be read, or has kept no payload.
        """
        conversation = self._survey.replay(letter_id)
        log.info("dead letter replayed", extra={"action": "replay", "letter_id": letter_id})
        return conversation

    def drop(self, letter_id: str) -> None:
        """Delete a dead letter.

        Raises:
            LetterNotFoundError: there is none with this id.
        """
        self._survey.drop(letter_id)
        log.info("dead letter dropped", extra={"action": "drop", "letter_id": letter_id})

    def _read(self, name: str) -> Detail | None:
        found = self._survey.conversation(name)
        if found is None:
            return None
        # No more: each line has a guide for terminals, as long as it is deep.
        lines = islice(lines_of(tree_of(found.hops)), MOST_RUNS)
        nodes, edges = graph_of(found.hops)
        letters = self._told(self._survey.letter_ids(0, MOST_LETTERS))
        underway = self.underway() if found.is_open else []
        return Detail(
            row=row_of(Brief(found, is_large=False, fields=0)),
            threads=found.threads,
            runs=[run_of(line.hop, line.depth) for line in lines],
            more=max(0, len(found.hops) - MOST_RUNS),
            nodes=nodes,
            edges=edges,
            underway=[each for each in underway if each.conversation == found.id],
            letters=[letter for letter in letters if letter.conversation == found.id],
            faults=[
                fault
                for answer in found.answers.values()
                if answer and answer.is_error
                for fault in self._told_of(answer.payload).faults
            ],
        )

    def _told_of(self, typed: bytes) -> Summary:
        return summarise(typed, self._codec, self._rule)

    def _found(self, name: str) -> Indexed | None:
        """The conversation with this id, or that a thread with this id belongs to."""
        entry = self._survey.where_is(name)
        if entry is None:
            belongs = self._survey.conversation_of(name)
            entry = self._survey.where_is(belongs) if belongs else None
        return entry

    def _filtered(self, asked: Question, total: int, *, are_open: bool | None) -> Page:
        """What fits of the next `MOST_EXAMINED`; before them, what has this very name."""
        entry = self._found(asked.text) if asked.text and not asked.offset else None
        rows = [row for row in self._rows([entry] if entry else []) if asked.wants(row)]
        named = {row.id for row in rows}
        examined = 0
        while examined < MOST_EXAMINED:
            start = asked.offset + examined
            entries = self._survey.indexed(are_open=are_open, offset=start, limit=STEP)
            for row in self._rows(entries):
                examined += 1
                if row.id not in named and asked.fits(row):
                    rows.append(row)
                if len(rows) >= asked.limit:
                    return Page(rows, asked.offset + examined, total, examined)
            if len(entries) < STEP:
                return Page(rows, None, total, examined)
        return Page(rows, asked.offset + examined, total, examined)

    def _rows(self, entries: Sequence[Indexed]) -> list[Row]:
        """Lines of a list, in the same order; what has ended is read once."""
        known = {entry: self._ended.get(entry) for entry in entries if not entry.is_open}
        missing = [entry for entry in entries if known.get(entry) is None]
        read: dict[Indexed, Row] = {}
        if missing:
            for entry, brief in zip(missing, self._survey.briefs(missing), strict=True):
                self._sample.add(brief.conversation.hops)
                read[entry] = row_of(brief)
                if not entry.is_open:
                    self._ended.put(entry, read[entry])
        return [row for entry in entries if (row := read.get(entry) or known.get(entry))]

    def _take_in(self) -> None:
        """Take in the runs of conversations that have ended of late, and of open ones."""
        ended = self._survey.indexed(are_open=False, offset=0, limit=_FRESH)
        fresh = [entry for entry in ended if entry.moment_ms >= self._seen_until]
        going = self._survey.indexed(are_open=True, offset=0, limit=_OPEN)
        self._rows([*fresh, *going])
        self._seen_until = max((entry.moment_ms for entry in ended), default=self._seen_until)

    def _told(self, letter_ids: Iterable[str]) -> Iterable[LetterFacts]:
        for letter_id in letter_ids:
            facts = self._letters.get(letter_id)
            if facts is None:
                with suppress(LetterNotFoundError):
                    facts = self._letter(letter_id)
                    self._letters.put(letter_id, facts)
            if facts is not None:
                yield facts

    def _letter(self, letter_id: str) -> LetterFacts:
        try:
            letter = self._survey.letter(letter_id)
        except CodecError:
            return LetterFacts(letter_id)
        payload = self._told_of(letter.envelope.payload)
        return letter_of(letter_id, letter, payload, with_reason=self._rule.with_reasons)

    def _listeners(self, live: list[WorkerLease], now: float) -> Iterable[ListenerFacts]:
        for name in dict.fromkeys(listener.name for listener in self._organism.listeners):
            listener = next(each for each in self._organism.listeners if each.name == name)
            needed = self._fingerprints.get(name)
            able = sum(needed in worker.fingerprints for worker in live)
            yield ListenerFacts(
                name=name,
                description=listener.description,
                is_cpu_bound=listener.cpu_bound,
                is_agent=listener.agent,
                workers=able if needed else None,
                **asdict(self._sample.pace(name, now)),
            )

    def _worker(self, worker: WorkerLease) -> WorkerFacts:
        can = {name: mark in worker.fingerprints for name, mark in self._fingerprints.items()}
        return WorkerFacts(
            id=worker.id,
            node=worker.node,
            pid=worker.pid,
            processes=worker.processes,
            busy=worker.busy,
            left_s=round(worker.left_ms / 1000),
            runs=[name for name, is_able in can.items() if is_able],
            lacks=[name for name, is_able in can.items() if not is_able],
        )


def _marks(standing: Standing) -> dict[str, str]:
    """Texts that change when what they stand for may have changed."""
    counts = standing.counts
    told = (standing.open, standing.closed, *standing.newest[:2], counts.get("hops", 0))
    moving = (standing.claimed, standing.ready, standing.published, standing.held)
    return {
        "conversations": " ".join(map(str, (*told, *moving))),
        "letters": f"{standing.letters} {standing.newest[2]}",
    }
