"""Call chains: the dotted path by which a message came, and the thread id it stands for.

A chain reads from the outermost caller to the newest hop:
`system.audit.@4f1c….external.auditor.#a09d….analyzer`. A hop is a listener's name,
percent-escaped where it holds one of `. @ # %`. A *marker* is the id of a scope:
`@` begins a conversation, `#` a scatter member. A marker belongs to the hops after
it, so two conversations that walk the same path have different chains.
"""

import random
from functools import lru_cache
from hashlib import blake2b

CONVERSATION_MARK = "@"
MEMBER_MARK = "#"
MARKS = (CONVERSATION_MARK, MEMBER_MARK)
#: Sets apart the second and later listeners that share a broadcast name: `log~1`.
COPY_MARK = "~"
#: Characters of what is no chain that an error repeats.
_SHOWN_CHARS = 200

#: A hexadecimal digit with its upper two bits set to a UUID's variant, 10.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_ESCAPES = str.maketrans({"%": "%25", ".": "%2E", "@": "%40", "#": "%23"})


@lru_cache(maxsize=4096)
def escape_hop(name: str) -> str:
    """*name* as one segment of a chain.

    >>> escape_hop("calculator.add")
    'calculator%2Eadd'
    """
    return name.translate(_ESCAPES)


def _escape_id(text: str) -> str:
    """As `escape_hop`; ids come once, so none of them is worth a place in a cache."""
    if "." in text or "@" in text or "#" in text or "%" in text:
        return text.translate(_ESCAPES)
    return text


@lru_cache(maxsize=4096)
def unescape_hop(segment: str) -> str:
    """The listener's name behind one segment.

    >>> unescape_hop("calculator%2Eadd")
    'calculator.add'
    """
    if "%" not in segment:
        return segment
    for plain, escaped in ((".", "%2E"), ("@", "%40"), ("#", "%23"), ("%", "%25")):
        segment = segment.replace(escaped, plain)
    return segment


def is_marker(segment: str) -> bool:
    """True for a scope's marker, false for a hop."""
    return segment.startswith(MARKS)


def extend(chain: str, name: str) -> str:
    """*chain* with one more hop, escaped; an empty chain starts one."""
    hop = escape_hop(name)
    return f"{chain}.{hop}" if chain else hop


def conversation_chain(root: str, thread_id: str, initiator: str, target: str) -> str:
    """The chain of a conversation's own thread, below *root* (which may be empty).

    >>> conversation_chain("system.demo", "7", "external", "greeter")
    'system.demo.@7.external.greeter'
    """
    marker = CONVERSATION_MARK + _escape_id(thread_id)
    path = f"{marker}.{escape_hop(initiator)}.{escape_hop(target)}"
    return f"{root}.{path}" if root else path


def member_chain(chain: str, member: str, target: str) -> str:
    """The chain of one scatter member, below the scatterer's own *chain*."""
    return f"{chain}.{MEMBER_MARK}{_escape_id(member)}.{escape_hop(target)}"


def new_thread_id() -> str:
    """A thread id nobody has had: a random UUID of version 4 (RFC 9562).

    Not a secret, so it need not cost a system call; forks seed themselves anew.
    """
    return _uuid(f"{random.getrandbits(128):032x}", "4")


def _uuid(raw: str, version: str) -> str:
    variant = _VARIANT[raw[16]]
    return f"{raw[:8]}-{raw[8:12]}-{version}{raw[13:16]}-{variant}{raw[17:20]}-{raw[20:]}"


def thread_id_of(chain: str) -> str:
    """The thread id of a *chain* nobody has given another, the same in every process.

    A UUID of version 8 (RFC 9562) over the chain's BLAKE2b-128. Because it is derived,
    two processes that first meet a chain at once agree without a lock, and a hop that
    runs again after a crash opens the same threads.
    """
    return _uuid(blake2b(chain.encode(), digest_size=16).hexdigest(), "8")


def conversation_of(chain: str) -> str | None:
    """The id of the conversation *chain* belongs to; None outside of one.

    >>> conversation_of("system.demo.@7.external.greeter.clock")
    '7'
    """
    for segment in chain.split("."):
        if segment.startswith(CONVERSATION_MARK):
            return unescape_hop(segment[1:])
    return None


def initiator_of(chain: str) -> str | None:
    """Who began the conversation *chain* belongs to; None outside of one.

    >>> initiator_of("system.demo.@7.external.greeter.clock")
    'external'
    """
    segments = iter(chain.split("."))
    for segment in segments:
        if segment.startswith(CONVERSATION_MARK):
            return unescape_hop(next(segments))
    return None


def first_hops(chain: str) -> tuple[str, str, str]:
    """The conversation whose own *chain* this is, who asked, and whom.

    Raises:
        ValueError: it is no such chain.

    >>> first_hops("system.demo.@7.external.greeter")
    ('7', 'external', 'greeter')
    """
    before, initiator, target = chain.rsplit(".", 2)
    marker = before.rpartition(".")[2]
    if not marker.startswith(CONVERSATION_MARK):
        raise ValueError(f"{chain[:_SHOWN_CHARS]!r} is no chain of a conversation's own thread")
    name = marker[1:] if "%" not in marker else unescape_hop(marker[1:])
    return name, unescape_hop(initiator), unescape_hop(target)


def last_hop(chain: str) -> str:
    """The name of the newest hop.

    >>> last_hop("system.demo.calculator%2Eadd")
    'calculator.add'
    """
    return unescape_hop(chain.rpartition(".")[2])


def caller_of(chain: str) -> str | None:
    """The chain that the newest hop was called from; None when there is none.

    >>> caller_of("system.demo.@7.external.auditor.#1.analyzer")
    'system.demo.@7.external.auditor'
    """
    rest = chain.rpartition(".")[0]
    while is_marker(rest.rpartition(".")[2]):
        rest = rest.rpartition(".")[0]
    return rest or None


def callers(chain: str) -> list[str]:
    """Every chain that *chain* was called from, nearest first.

    >>> callers("system.demo.@7.external.greeter")
    ['system.demo.@7.external', 'system.demo', 'system']
    """
    found: list[str] = []
    caller = chain.rpartition(".")[0]
    while caller:
        before, _, segment = caller.rpartition(".")
        if not segment.startswith(MARKS):
            found.append(caller)
        caller = before
    return found


def is_own_thread(chain: str) -> bool:
    """True for the chain a conversation began with: marker, who asked, whom."""
    segments = chain.rsplit(".", 3)
    is_first_hop = len(segments) > 2 and segments[-3].startswith(CONVERSATION_MARK)  # noqa: PLR2004 - as the docstring counts them
    return is_first_hop and COPY_MARK not in segments[-1]


def thread_in_conversation(chain: str) -> str | None:
    """The thread that *chain* stands for inside its conversation; None outside of one.

    >>> thread_in_conversation("system.demo.@7.external.greeter")
    '7'
    """
    if is_own_thread(chain):
        return unescape_hop(chain.rsplit(".", 3)[-3][1:])
    is_inside = chain.startswith(CONVERSATION_MARK) or f".{CONVERSATION_MARK}" in chain
    return thread_id_of(chain) if is_inside else None
