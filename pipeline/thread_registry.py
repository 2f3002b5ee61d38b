"""The thread registry: opaque thread ids for call chains, so handlers see no topology."""

from backends import BackendConfig, InMemoryBackend, SharedBackend, chains
from pipeline.ambient import Ambient
from pipeline.errors import UnknownThreadError


class ThreadRegistry:
    """Maps thread ids to call chains, in a shared backend or in this process.

    Args:
        backend: not closed here; without one the registry is this process's alone.
    """

    def __init__(self, backend: SharedBackend | None = None) -> None:
        self.is_shared = backend is not None
        self._backend = (
            backend if backend is not None else InMemoryBackend(BackendConfig(redis_ttl=0))
        )
        self.root_uuid: str | None = None
        self.root_chain = "system"

    def initialize_root(self, organism_name: str = "organism") -> str:
        """Register the root thread, under which conversations start; its id."""
        if self.root_uuid is None:
            self.root_chain = chains.extend("system", organism_name)
            self.root_uuid = self.get_or_create(self.root_chain)
        return self.root_uuid

    def get_or_create(self, chain: str) -> str:
        """The id of *chain*; the same one for whoever asks, however many ask at once."""
        known = self._backend.registry_get_uuid(chain)
        if known is not None:
            return known
        thread_id = chains.thread_id_of(chain)
        self._backend.registry_set(chain, thread_id)
        return thread_id

    def lookup(self, uuid: str) -> str | None:
        """The chain of a thread; None when unknown or expired."""
        return self._backend.registry_get_chain(uuid)

    def extend_chain(self, uuid: str, hop: str) -> str:
        """The id of the thread one *hop* further.

        Raises:
            UnknownThreadError: *uuid* is unknown or expired.
        """
        chain = self.lookup(uuid)
        if chain is None:
            raise UnknownThreadError(f"thread {uuid!r} is not registered, or has expired")
        return self.get_or_create(chains.extend(chain, hop))

    def prune_for_response(self, uuid: str) -> tuple[str, str] | tuple[None, None]:
        """Who gets the answer of a thread's last hop, and on which thread.

        `(None, None)` when the thread is unknown or has no caller.
        """
        chain = self.lookup(uuid)
        caller = chains.caller_of(chain) if chain else None
        if caller is None or caller == self.root_chain:
            return None, None
        return chains.last_hop(caller), self.get_or_create(caller)

    def start_chain(self, initiator: str, target: str) -> str:
        """Begin a conversation; the id of its thread, a new one every time."""
        return self.register_thread(chains.new_thread_id(), initiator, target)

    def register_thread(self, thread_id: str, initiator: str, target: str) -> str:
        """Begin a conversation under an id of the caller's; returns it.

        A thread that is registered already keeps its chain.
        """
        if self.lookup(thread_id) is None:
            root = self.root_chain if self.root_uuid else ""
            chain = chains.conversation_chain(root, thread_id, initiator, target)
            self._backend.registry_set(chain, thread_id)
        return thread_id

    def cleanup(self, uuid: str) -> None:
        """Forget a thread."""
        self._backend.registry_delete(uuid)

    def debug_dump(self) -> dict[str, str]:
        """Every thread, id to chain."""
        return self._backend.registry_list_all()

    def clear(self) -> None:
        """Forget every thread, the root included."""
        self._backend.registry_clear()
        self.root_uuid = None
        self.root_chain = "system"


_ambient: Ambient[ThreadRegistry] = Ambient("thread_registry", ThreadRegistry)


def get_registry() -> ThreadRegistry:
    """The thread registry at hand.

    In a handler it is its pump's; elsewhere the one of the pump last started in this
    process, or an unshared one.
    """
    return _ambient.get()


def use_registry(registry: ThreadRegistry | None) -> None:
    """Make *registry* this process's, and that of every task started from here."""
    _ambient.use(registry)


def leave_registry(registry: ThreadRegistry) -> None:
    """*registry* is of no more use: this process's is the newest of the others."""
    _ambient.leave(registry)
