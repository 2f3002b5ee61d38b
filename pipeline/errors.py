"""What can go wrong with an organism, as a small tree rooted at `PipelineError`.

Errors cross processes: every class is built from positional arguments that
pickle. None of them carries a payload.
"""


class PipelineError(Exception):
    """The root: the organism or its pump failed."""


class ConfigError(PipelineError, ValueError):
    """Settings are wrong; each problem names its place and what would be right.

    `problems` holds one line a mistake; `str()` joins them with newlines.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class UnknownListenerError(PipelineError, LookupError):
    """A message is addressed to a listener the organism does not have."""


class UnknownThreadError(PipelineError, LookupError):
    """A thread id is not in the registry: never registered, or expired."""


class PayloadTypeError(PipelineError, TypeError):
    """A payload is not of the class its listener declares, or can't be encoded."""


class PayloadTooLargeError(PipelineError, ValueError):
    """An encoded payload exceeds `limits.max_payload_bytes`; nothing was stored."""


class PumpFullError(PipelineError):
    """The pump is full and the caller must not wait: `inject` inside a handler."""


class PumpStoppedError(PipelineError):
    """The pump is not running, or stopped before the answer came."""


class NoAnswerError(PipelineError):
    """A requested conversation ended and nobody answered; or, its text says so, Redis lost it."""


class HandlerError(PipelineError):
    """A handler raised, timed out, vanished or returned what can't be routed.

    `str()` is the message from where it happened. `code` is one of
    `pipeline.messages.ErrorCode`; `traceback` is the remote one, or empty.
    """

    def __init__(
        self,
        message: str,
        listener: str = "",
        code: str = "",
        attempt: int = 1,
        traceback: str = "",
    ) -> None:
        super().__init__(message, listener, code, attempt, traceback)
        self.message = message
        self.listener = listener
        self.code = code
        self.attempt = attempt
        self.traceback = traceback

    def __str__(self) -> str:
        return self.message
