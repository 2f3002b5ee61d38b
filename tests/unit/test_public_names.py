"""The names other people's code imports and calls: what they are, and in which order."""

import importlib
import inspect
import subprocess
import sys
from typing import Any

import pytest

import backends
import pipeline

PROMISED = {
    backends: (
        "SharedBackend BackendConfig InMemoryBackend ManagerBackend RedisBackend"
        " get_shared_backend reset_shared_backend serialize_slot deserialize_slot"
    ),
    pipeline: (
        "StreamPump Organism load_organism HandlerMetadata HandlerResponse Gathered HandlerError"
        " ConfigError ContextBuffer BufferSlot SlotMetadata ThreadRegistry get_context_buffer"
        " get_registry"
    ),
}

SIGNATURES = {
    "backends.get_shared_backend": "config=None",
    "backends.reset_shared_backend": "",
    "backends.SharedBackend.buffer_append": "self thread_id slot_data",
    "backends.SharedBackend.buffer_get_thread": "self thread_id",
    "backends.SharedBackend.buffer_get_slot": "self thread_id index",
    "backends.SharedBackend.buffer_thread_len": "self thread_id",
    "backends.SharedBackend.buffer_thread_exists": "self thread_id",
    "backends.SharedBackend.buffer_delete_thread": "self thread_id",
    "backends.SharedBackend.buffer_list_threads": "self",
    "backends.SharedBackend.buffer_clear": "self",
    "backends.SharedBackend.registry_set": "self chain uuid",
    "backends.SharedBackend.registry_get_uuid": "self chain",
    "backends.SharedBackend.registry_get_chain": "self uuid",
    "backends.SharedBackend.registry_delete": "self uuid",
    "backends.SharedBackend.registry_list_all": "self",
    "backends.SharedBackend.registry_clear": "self",
    "backends.SharedBackend.close": "self",
    "backends.SharedBackend.ping": "self",
    "backends.SharedBackend.info": "self",
    "pipeline.HandlerMetadata": (
        "thread_id from_id own_name=None is_self_call=False usage_instructions='' attempt=1"
    ),
    "pipeline.HandlerResponse.respond": "payload",
    "pipeline.HandlerResponse.scatter": "payloads to",
    "pipeline.ContextBuffer.append": (
        "self thread_id payload from_id to_id own_name=None is_self_call=False"
        " usage_instructions=''"
    ),
    "pipeline.ThreadRegistry.initialize_root": "self organism_name='organism'",
    "pipeline.ThreadRegistry.get_or_create": "self chain",
    "pipeline.ThreadRegistry.lookup": "self uuid",
    "pipeline.ThreadRegistry.extend_chain": "self uuid hop",
    "pipeline.ThreadRegistry.prune_for_response": "self uuid",
    "pipeline.ThreadRegistry.start_chain": "self initiator target",
    "pipeline.ThreadRegistry.register_thread": "self thread_id initiator target",
    "pipeline.ThreadRegistry.cleanup": "self uuid",
    "pipeline.ThreadRegistry.debug_dump": "self",
    "pipeline.ThreadRegistry.clear": "self",
    "backends.RedisBackend": "url='redis://localhost:6379' prefix='xp:' ttl=86400",
    "pipeline.StreamPump": "organism=None name='organism'",
    "pipeline.StreamPump.from_file": "path",
    "pipeline.StreamPump.register": (
        "self name handler payload_class description='' agent=False peers=() cpu_bound=False"
        " broadcast=False timeout_s=None retries=0"
    ),
    "pipeline.StreamPump.inject": "self to payload thread_id=None from_id='external'",
    "pipeline.StreamPump.request": "self to payload timeout_s=None",
    "pipeline.StreamPump.shutdown": "self drain=True timeout_s=None",
    "pipeline.StreamPump.join": "self",
    "pipeline.StreamPump.subscribe": "self callback",
}


@pytest.mark.parametrize(
    ("package", "name"),
    [(package, name) for package, names in PROMISED.items() for name in names.split()],
)
def test_a_promised_name_is_there(package: Any, name: str) -> None:
    """And listed, so that `import *` and documentation find it."""
    assert name in package.__all__
    assert hasattr(package, name)


@pytest.mark.parametrize(("path", "expected"), SIGNATURES.items())
def test_a_promised_call_takes_its_arguments(path: str, expected: str) -> None:
    """By these names, in this order, with these defaults; more may follow."""
    package, *names = path.split(".")
    target: Any = importlib.import_module(package)
    for name in names:
        target = getattr(target, name)
    told = [
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in inspect.signature(target).parameters.values()
    ]
    assert told[: len(expected.split())] == expected.split()
    assert all("=" in each for each in told[len(expected.split()) :])


def test_importing_starts_nothing() -> None:
    """No connection, no thread, no process; and no Celery below `tasks`."""
    code = (
        "import sys, threading, socket\n"
        "def refuse(*_): raise AssertionError('a socket was opened')\n"
        "socket.socket.__init__ = refuse\n"
        "import backends, pipeline, pipeline.pump, pipeline.cli.main\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert 'celery' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
