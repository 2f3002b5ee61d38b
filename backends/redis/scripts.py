"""The Lua scripts: what each is made of, and how one is run."""

import hashlib
from functools import cache
from importlib.resources import files

#: Scripts on threads alone, which any `SharedBackend` has.
OF_THREADS = ("write", "link", "refresh", "delete", "clear", "list", "count", "unfold")
#: What the mailbox does, as commands that travel together in one script, `turn`.
COMMANDS = (
    "begin",
    "open",
    "settle",
    "publish_alone",
    "gathered",
    "recall",
    "defer",
    "drop",
    "dispatch",
)
#: Scripts on conversations.
OF_CONVERSATIONS = ("turn", "replay")
#: Scripts on dispatches, workers and pumps: the ledger.
OF_LEDGER = (
    "record",
    "publish",
    "unpublish",
    "again",
    "claim",
    "complete",
    "release",
    "refuse",
    "bury",
    "beat",
    "sweep",
    "leave",
)
#: Scripts for those who watch.
OF_WATCHERS = ("gauge",)
_THREADS = ("threads", "folded")
_BUFFERS = (*_THREADS, "buffers")
_CONVERSATIONS = (*_THREADS, "conversations", "fields", "messages", "scopes", "lives")
_LEDGER = ("living", "ledger")
_PARTS = {
    **dict.fromkeys(OF_THREADS, _BUFFERS),
    **dict.fromkeys((*OF_LEDGER, *OF_WATCHERS), (*_THREADS, "conversations", *_LEDGER)),
    "write": ("quick", *_BUFFERS),
    "turn": (*_CONVERSATIONS, "living", "commands", *COMMANDS),
    "replay": _CONVERSATIONS,
    "record": (*_THREADS, "conversations", "fields", "messages", *_LEDGER),
}


@cache
def script_text(name: str) -> str:
    """The source of one script, behind what it is built on."""
    folder = files("backends.redis").joinpath("scripts")
    return "\n".join(folder.joinpath(f"{part}.lua").read_text() for part in (*_PARTS[name], name))


@cache
def script_digest(name: str) -> str:
    """What Redis calls a script by: the SHA-1 of its source."""
    return hashlib.sha1(script_text(name).encode(), usedforsecurity=False).hexdigest()
