"""What the page shows, as plain data; moments are seconds since the epoch, durations seconds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from backends.mailbox import Hop, Letter
from backends.redis.survey import AtWork, Brief
from pipeline.cli.console.redaction import Summary
from pipeline.cli.console.sampling import Pace
from pipeline.cli.faults import Fault
from pipeline.cli.threads import state_of
from pipeline.deaths import endings_in
from pipeline.roster import name_of

#: Who stands in the graph for those who sent from outside.
OUTSIDE = "external"


@dataclass(frozen=True)
class Row:
    """A conversation in the list."""

    id: str
    #: `open`, `answered`, `failed`, `closed`; `ended` where it is too large to be read for a list.
    state: str
    busy: int
    hops: int
    #: Runs that failed, retries, and listeners in the order they first ran.
    failures: int
    retries: int
    listeners: list[str]
    started: float | None
    last: float | None
    #: True where hops, failures and listeners are not told.
    is_large: bool = False


@dataclass(frozen=True)
class Run:
    """One run of a handler in the waterfall."""

    listener: str
    from_id: str
    depth: int
    type: str
    thread: str
    place: str
    attempt: int
    started: float
    seconds: float
    error: str


@dataclass
class Edge:
    """Who called whom, how often, and how it went."""

    source: str
    target: str
    calls: int = 0
    failures: int = 0
    #: Answers that came back from *target* and had *source* run again.
    returns: int = 0


@dataclass
class Node:
    """A listener in the graph."""

    name: str
    runs: int = 0
    failures: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Underway:
    """What has been handed to the workers and has not ended."""

    listener: str
    from_id: str
    attempt: int
    #: `waiting` for a worker, or `running`.
    state: str
    place: str
    #: Processes it has killed.
    deaths: int
    conversation: str


@dataclass(frozen=True)
class LetterFacts:
    """A dead letter."""

    id: str
    listener: str = ""
    from_id: str = ""
    conversation: str = ""
    thread: str = ""
    code: str = "unreadable"
    why: str = "It is forged or damaged. It can only be dropped."
    died: float | None = None
    attempt: int = 0
    history: list[tuple[str, float]] = field(default_factory=list)
    payload: Summary | None = None


@dataclass(frozen=True)
class Message:
    """One message of a thread."""

    from_id: str
    to_id: str
    sent: str
    payload: Summary


@dataclass(frozen=True)
class Detail:
    """One conversation."""

    row: Row
    threads: int
    runs: list[Run]
    #: Runs that are left out.
    more: int
    nodes: list[Node]
    edges: list[Edge]
    underway: list[Underway]
    letters: list[LetterFacts]
    #: What whoever asked was told went wrong.
    faults: list[Fault]


def row_of(brief: Brief) -> Row:
    """A conversation in the list."""
    found = brief.conversation
    state = state_of(found)
    if brief.is_large:
        state = "open" if found.is_open else "ended"
    names = dict.fromkeys(name_of(hop.to) for hop in found.hops)
    return Row(
        id=found.id,
        state=state,
        busy=found.in_flight,
        hops=brief.fields if brief.is_large else len(found.hops),
        failures=sum(bool(hop.error) for hop in found.hops),
        retries=sum(hop.attempt - 1 for hop in found.hops),
        listeners=list(names),
        started=found.started_at,
        last=found.last_at,
        is_large=brief.is_large,
    )


def run_of(hop: Hop, depth: int) -> Run:
    """A line of the waterfall."""
    return Run(
        listener=name_of(hop.to),
        from_id=hop.from_id,
        depth=depth,
        type=hop.payload_type,
        thread=hop.thread_id,
        place=hop.place,
        attempt=hop.attempt,
        started=hop.started_at,
        seconds=hop.duration_s,
        error=hop.error,
    )


def graph_of(hops: Sequence[Hop]) -> tuple[list[Node], list[Edge]]:
    """Who called whom, of a whole conversation.

    A run on a chain that has run before is the caller's own again, with an answer; unless the
    same caller sent it, as from outside.
    """
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], Edge] = {}

    def edge(source: str, target: str) -> Edge:
        for name in (source, target):
            nodes.setdefault(name, Node(name))
        return edges.setdefault((source, target), Edge(source, target))

    first_from: dict[str, str] = {}
    for hop in hops:
        name = name_of(hop.to)
        caller = first_from.setdefault(hop.chain, hop.from_id)
        if caller == hop.from_id:
            called = edge(hop.from_id, name)
            called.calls += 1
            called.failures += bool(hop.error)
        else:
            edge(name, hop.from_id).returns += 1
        node = nodes.setdefault(name, Node(name))
        node.runs += 1
        node.failures += bool(hop.error)
        node.seconds += hop.duration_s
    return list(nodes.values()), list(edges.values())


def underway_of(dispatch: AtWork, nodes: dict[str, str]) -> Underway:
    """What a worker runs, or is to run.

    Args:
        nodes: workers' names by their ids.
    """
    worker, _, process = dispatch.owner.partition("/")
    envelope = dispatch.envelope
    return Underway(
        listener=name_of(envelope.to),
        from_id=envelope.from_id,
        attempt=envelope.attempt,
        state="running" if worker else "waiting",
        place=f"{nodes.get(worker, worker)}:{process}" if worker else "",
        deaths=dispatch.deaths,
        conversation=envelope.conversation,
    )


def letter_of(
    letter_id: str, letter: Letter, payload: Summary, *, with_reason: bool
) -> LetterFacts:
    """A dead letter that can be read."""
    envelope = letter.envelope
    return LetterFacts(
        id=letter_id,
        listener=name_of(envelope.to),
        from_id=envelope.from_id,
        conversation=envelope.conversation,
        thread=envelope.thread_id,
        code=letter.code,
        why=letter.reason if with_reason else _why(letter),
        died=letter.died_at,
        attempt=envelope.attempt,
        history=letter.history,
        payload=payload,
    )


def _why(letter: Letter) -> str:
    """Why it died, in words of our own: the reason kept with it may quote what it carries."""
    if letter.code == "worker_lost":
        deaths = len(letter.history)
        if deaths:
            often = {1: "once", 2: "twice"}.get(deaths, f"{deaths} times")
            return f"Its handler killed its worker {often}{endings_in(letter.history)}."
        return "No live worker runs this listener as the organism declares it."
    return "It can't be read, or can't be delivered to a listener."


@dataclass(frozen=True, kw_only=True)
class ListenerFacts(Pace):
    """A listener, and how its latest runs went."""

    name: str
    description: str
    is_cpu_bound: bool
    is_agent: bool
    #: Live workers that run it; None for one that runs on pumps.
    workers: int | None = None


@dataclass(frozen=True)
class WorkerFacts:
    """A worker and its lease."""

    id: str
    node: str
    pid: int
    processes: int
    busy: int
    left_s: float
    #: Listeners of this organism that it runs, of those that run on workers; and those it lacks.
    runs: list[str]
    lacks: list[str]


@dataclass(frozen=True)
class PumpFacts:
    """A pump and its lease."""

    id: str
    held: int
    left_s: float
