"""The organism and its pump: what a user of the package imports."""

from backends.slots import BufferSlot, SlotMetadata
from pipeline.context_buffer import ContextBuffer, get_context_buffer
from pipeline.errors import (
    ConfigError,
    HandlerError,
    NoAnswerError,
    PayloadTooLargeError,
    PayloadTypeError,
    PipelineError,
    PumpFullError,
    PumpStoppedError,
    UnknownListenerError,
    UnknownThreadError,
)
from pipeline.messages import ErrorMessage, Gathered, HandlerMetadata, HandlerResponse
from pipeline.organism import Listener, Organism
from pipeline.organism_file import load_organism
from pipeline.pump import StreamPump
from pipeline.thread_registry import ThreadRegistry, get_registry

__all__ = [
    "BufferSlot",
    "ConfigError",
    "ContextBuffer",
    "ErrorMessage",
    "Gathered",
    "HandlerError",
    "HandlerMetadata",
    "HandlerResponse",
    "Listener",
    "NoAnswerError",
    "Organism",
    "PayloadTooLargeError",
    "PayloadTypeError",
    "PipelineError",
    "PumpFullError",
    "PumpStoppedError",
    "SlotMetadata",
    "StreamPump",
    "ThreadRegistry",
    "UnknownListenerError",
    "UnknownThreadError",
    "get_context_buffer",
    "get_registry",
    "load_organism",
]
