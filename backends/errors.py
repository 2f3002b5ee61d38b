"""What can go wrong with shared state, as a small tree rooted at `BackendError`.

Errors cross processes: every class is built from positional arguments that
pickle, and none of them carries a payload, a password or a key.
"""


class BackendError(Exception):
    """The root: something about shared state failed."""


class BackendUnavailableError(BackendError):
    """The store did not answer, or refused us; a retry may help.

    The text names host and port, never user or password.
    """


class BackendRefusingError(BackendUnavailableError):
    """The store answers, and takes no writes for now; the text says why, and what helps."""


class BackendUnreplicatedError(BackendUnavailableError):
    """The store has what was written, and fewer replicas than must; the text says how many."""


class BackendDeniedError(BackendUnavailableError):
    """The store answers, and lets us in no more, or our user do too little; the text says why.

    Somebody may set that right while we wait; the text says how.
    """


class BackendClosedError(BackendError):
    """The backend was used after `close`; open a new one."""


class BufferFullError(BackendError, MemoryError):
    """A thread already holds `max_slots_per_thread` slots; nothing was stored."""


class LetterNotFoundError(BackendError):
    """There is no such dead letter: it never was, or was replayed, dropped, or expired."""


class ThreadLimitError(BackendError):
    """One more thread would exceed `max_threads`; nothing was stored.

    Delete threads, let them expire, or raise the limit.
    """


class CodecError(BackendError, ValueError):
    """A record can't be encoded or decoded; the record itself is at fault."""


class UnknownTypeError(CodecError):
    """A record names a type that the organism does not declare.

    Add its module to `serialization.modules`, or use it as a listener's payload class.
    """


class RecordVersionError(CodecError):
    """A record's format version is not one this release reads."""


class SignatureError(CodecError):
    """A record's tag is missing or does not match its bytes and its place."""
