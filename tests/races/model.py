"""What is promised of mailbox and ledger, in its plainest form: no Redis, no bytes, no races.

A *token* is a message or a finished scatter that has yet to be settled. A scope is open as long
as one of its tokens, or a scope below it, is.
"""

from collections import Counter
from dataclasses import dataclass, field

from backends.mailbox import Answer

#: Where a token is when no pump holds it.
INBOX, DELAYED, LEDGER = "inbox", "delayed", "ledger"


@dataclass
class Token:
    """One message, or one finished scatter."""

    scope: str
    #: One of the three places, or the pump that holds it.
    where: str = INBOX
    is_gather: bool = False
    attempt: int = 1
    #: How often it has changed hands: who held it before holds it no more, even if it comes back.
    moves: int = 0


@dataclass
class Scope:
    """One root scope, or that of a scatter's member."""

    conversation: str
    parent: str = ""
    gather: str = ""
    position: int = 0
    answer: Answer | None = None
    is_settled: bool = False


@dataclass
class Gather:
    """A scatter whose members are not all settled."""

    scope: str
    answers: list[Answer | None]
    remaining: int


@dataclass
class Told:
    """What a settlement brings about for those who asked."""

    answered: list[tuple[str, Answer]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    dropped: int = 0


@dataclass
class Model:
    """The promises."""

    tokens: dict[str, Token] = field(default_factory=dict)
    #: Open ones.
    scopes: dict[str, Scope] = field(default_factory=dict)
    #: Every root scope there ever was, open or not.
    roots: dict[str, Scope] = field(default_factory=dict)
    gathers: dict[str, Gather] = field(default_factory=dict)
    #: What each finished scatter brings, until it is settled.
    gathered: dict[str, list[Answer | None]] = field(default_factory=dict)
    #: Slots of each thread, in the order of their settlements.
    slots: dict[str, list[bytes]] = field(default_factory=dict)
    late_answers: int = 0
    #: Each with its conversation, and whether it may run again.
    letters: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def units(self, scope: str) -> int:
        """What keeps a scope open."""
        return sum(token.scope == scope for token in self.tokens.values()) + sum(
            each.parent == scope for each in self.scopes.values()
        )

    def scatters(self, conversation: str) -> set[str]:
        """Those of a conversation that wait for members, or to be settled."""
        finished = {key: self.tokens[key].scope for key in self.gathered}
        scopes = {name: gather.scope for name, gather in self.gathers.items()} | finished
        return {
            name
            for name, scope in scopes.items()
            if self.scopes[scope].conversation == conversation
        }

    def at(self, where: str) -> list[str]:
        """The tokens in one place, or in one pump's hands."""
        return [key for key, token in self.tokens.items() if token.where == where]

    def is_open(self, conversation: str) -> bool:
        """Whether anything of it has yet to end."""
        return any(each.conversation == conversation for each in self.scopes.values())

    def is_in_stream(self) -> bool:
        """Whether any token waits for a pump, or is held by one."""
        return any(token.where not in (DELAYED, LEDGER) for token in self.tokens.values())

    def move(self, source: str, target: str) -> None:
        """All tokens of one place go to another."""
        for key in self.at(source):
            self.put(key, target)

    def put(self, key: str, where: str) -> None:
        """One token goes to another place."""
        self.tokens[key].where = where
        self.tokens[key].moves += 1

    def open(self, conversation: str, scope: str, message: str, slot: bytes) -> None:
        """A message from outside is accepted."""
        self.scopes[scope] = self.roots[scope] = Scope(conversation)
        self.tokens[message] = Token(scope)
        self.slots.setdefault(conversation, []).append(slot)

    def replay(self, letter: str, scope: str, message: str) -> None:
        """A dead letter runs again, in a root scope of its own."""
        conversation, _ = self.letters.pop(letter)
        self.scopes[scope] = self.roots[scope] = Scope(conversation)
        self.tokens[message] = Token(scope)

    def scatter(self, scope: str, gather: str, members: list[str]) -> None:
        """Each member is a message in a scope of its own, both of one name."""
        if not members:
            self.tokens[gather] = Token(scope, is_gather=True)
            self.gathered[gather] = []
            return
        self.gathers[gather] = Gather(scope, [None] * len(members), len(members))
        conversation = self.scopes[scope].conversation
        for position, member in enumerate(members):
            self.scopes[member] = Scope(conversation, scope, gather, position)
            self.tokens[member] = Token(member)

    def answer(self, scope: str, answer: Answer, told: Told) -> None:
        """The first answer of a scope counts."""
        found = self.scopes[scope]
        if found.is_settled:
            told.dropped += 1
            self.late_answers += 1
            return
        found.answer = answer
        if not found.parent:
            found.is_settled = True
            told.answered.append((scope, answer))
        else:
            self._settle_member(found)

    def end(self, key: str, told: Told) -> None:
        """A token was settled; what has nothing left is closed, upwards."""
        scope = self.tokens.pop(key).scope
        self.gathered.pop(key, None)
        while scope and not self.units(scope):
            found = self.scopes[scope]
            if found.parent and not found.is_settled:
                self._settle_member(found)
            del self.scopes[scope]
            if not found.parent:
                told.closed.append(scope)
                if not self.is_open(found.conversation):
                    told.ended.append(found.conversation)
            scope = found.parent

    def _settle_member(self, scope: Scope) -> None:
        scope.is_settled = True
        gather = self.gathers[scope.gather]
        gather.answers[scope.position] = scope.answer
        gather.remaining -= 1
        if not gather.remaining:
            del self.gathers[scope.gather]
            self.tokens[scope.gather] = Token(gather.scope, is_gather=True)
            self.gathered[scope.gather] = gather.answers


@dataclass
class Runs:
    """What is promised of dispatches: the ledger's part of the model."""

    max_attempts: int
    #: Dispatches that have not ended, each with the token it stands for.
    tokens: dict[str, str] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)
    #: How those ended that wait to be settled.
    reasons: dict[str, str] = field(default_factory=dict)

    def held_by(self, holder: str) -> list[str]:
        """What a worker, or one process of it, has claimed."""
        return [
            each
            for each, owner in self.claims.items()
            if owner == holder or owner.startswith(f"{holder}/")
        ]

    def bury(self, dispatch_id: str, *, is_counted: bool) -> bool:
        """Its process died; true where it has killed too many."""
        del self.claims[dispatch_id]
        self.deaths[dispatch_id] += is_counted
        return is_counted and self.deaths[dispatch_id] >= self.max_attempts
