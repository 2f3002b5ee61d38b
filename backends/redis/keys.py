"""The names of our keys in Redis, and what is behind each.

Every key is the prefix, one letter, a colon, and a rest that holds no colon; so two
prefixes never share a key, even where one begins with the other.

| Key | Type | Holds |
|---|---|---|
| `t:<thread>` | list | the thread's link, then its slots, oldest first |
| `c:<chain>` | string | the uuid linked to the chain, unless the chain says it itself |
| `i:threads` | sorted set | threads that have slots, by the moment they end |
| `i:links` | sorted set | linked uuids, by the moment they end |

Threads of conversations are in neither index, nor have they a `c:` key: `v:` names them, and
their ids follow from their chains.

A pump over Redis has these besides:

| Key | Type | Holds |
|---|---|---|
| `s:inbox` | stream | messages, ended dispatches, finished scatters; group `pump` |
| `s:<pump>` | stream | answers and ends of the conversations this pump began |
| `v:<conversation>` | hash | everything about one conversation; see `conversations.lua` |
| `e:<conversation>` | hash | what a long one has done: its older answers and hops |
| `u:<pump>` | sorted set | scopes it has opened, by number, until it has the reply |
| `n:<message id>` | string | the conversation that was opened with this id |
| `i:open`, `i:closed` | sorted set | conversations, by the moment they opened or closed |
| `i:delayed`, `l:delayed` | sorted set, hash | messages to be tried again: when, and the record |
| `i:alive` | sorted set | `p:<pump>` and `w:<worker>`, by the moment the lease ends |
| `l:service` | hash | since when, and when last, anybody has beaten; `k…`: see `agreement.py` |
| `w:<worker>` | hash | what a worker tells of itself: processes `p`, fingerprints `f…` |
| `l:dispatches` | hash | the listener, a line feed and the sealed record of each dispatch |
| `l:ready` | list | dispatches to publish, oldest first |
| `l:published` | sorted set | published and unclaimed, by the moment in microseconds |
| `l:mark` | string | when the latest claimed one was published |
| `l:claims` | hash | dispatch to `worker/process` |
| `l:deaths` | hash | dispatch to the processes it has killed |
| `l:parked` | hash | dispatches no live worker can run: what is needed, since when |
| `l:streams` | hash | dispatch to the stream its outcome goes to, if not the inbox |
| `l:letters`, `i:letters` | hash, sorted set | dead letters, and when they died |
| `l:counts` | hash | how often things have happened, for those who watch |
| `l:quarantine` | list | what was found and is none of ours, cut short |

A conversation that is nothing yet but a message that waits for a pump has no key of its own: it
stands in that message's entry, to which `i:open` leads; see `folded.lua`.

A link is empty or `=` and the chain. Moments are milliseconds by Redis's clock;
`NEVER` stands for none. Each key expires when the last thing in it ends.
"""

_ESCAPES = str.maketrans({"^": "^^", ":": "^_"})


def escape(text: str) -> str:
    """*text* without a colon; dots and marks of a chain stay where they are.

    >>> escape("a:b")
    'a^_b'
    """
    return text.translate(_ESCAPES) if ":" in text or "^" in text else text


def unescape(raw: bytes) -> str:
    """The text behind *raw*, as Redis returns it.

    >>> unescape(b"a^_b")
    'a:b'
    """
    text = raw.decode()
    if "^" not in text:
        return text
    return "^".join(part.replace("^_", ":") for part in text.split("^^"))


class Keys:
    """The keys under one prefix; thread and chain are given as they are, unescaped."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def thread(self, thread_id: str) -> str:
        """The list of a thread's link and slots."""
        return f"{self.prefix}t:{escape(thread_id)}"

    def chain(self, chain: str) -> str:
        """The uuid linked to a chain."""
        return f"{self.prefix}c:{escape(chain)}"
