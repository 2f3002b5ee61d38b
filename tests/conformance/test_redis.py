"""The Redis backend over a real server fulfils the contract, and its own promises."""

import socket
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import redis

from backends import BackendConfig, BackendUnavailableError, RedisBackend
from backends.protocol import Backend, SlotRecord
from tests.conformance.backend_contract import SharedBackendContract, uses_of
from tests.conformance.backend_hooks import Job, OpenBackend, opener
from tests.conformance.lending_contract import LendingContract
from tests.conformance.processes import run_in_processes, writer_processes
from tests.servers import RedisServer, free_port, running_redis, stop
from tests.waiting import eventually


@pytest.fixture(scope="module")
def writers() -> Iterator[ProcessPoolExecutor]:
    with writer_processes() as pool:
        yield pool


def keys_under(client: redis.Redis, prefix: str) -> list[bytes]:
    """All keys that begin with *prefix*, whatever characters it holds."""
    return [key for key in client.scan_iter(count=1000) if key.startswith(prefix.encode())]


class TestRedis(SharedBackendContract, LendingContract):
    @pytest.fixture
    def open_backend(self, redis_server: RedisServer, redis_prefix: str) -> Iterator[OpenBackend]:
        config = BackendConfig(
            backend_type="redis",
            redis_url=redis_server.url,
            redis_prefix=redis_prefix,
            redis_ttl=self.ttl_s,
        )
        yield from opener(RedisBackend.from_config, config)

    @pytest.fixture(autouse=True)
    def _use_processes(self, writers: ProcessPoolExecutor) -> None:
        self.writers = writers

    def in_parallel(self, backend: Backend, job: Job) -> list[Any]:
        return run_in_processes(self.writers, backend.lend(), job)

    def test_nothing_is_left_after_the_time_to_live(
        self, mortal: Backend, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """Redis holds not one key under the prefix, indexes included, with nobody writing."""
        mortal.record([SlotRecord("a", "x", b"0"), SlotRecord("b", "x.y", b"0")])
        mortal.registry_set("x.y.z", "slotless")
        mortal.buffer_append("unlinked", b"0")
        mortal.registry_delete("b")
        assert keys_under(redis_client, redis_prefix)
        assert eventually(lambda: not keys_under(redis_client, redis_prefix))

    def test_a_deleted_immortal_leaves_mortal_indexes(
        self, open_backend: OpenBackend, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """An index lives as long as what is in it, not as what once was."""
        open_backend(redis_ttl=0).record([SlotRecord("a", "x", b"0")])
        mortal = open_backend()
        mortal.record([SlotRecord("b", "y", b"0")])
        mortal.forget(["a"])
        assert eventually(lambda: not keys_under(redis_client, redis_prefix))

    def test_every_key_expires_or_none_does(
        self, open_backend: OpenBackend, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """With a time to live each key has one; with 0 none has."""
        for ttl, expected in ((3600, True), (0, False)):
            backend = open_backend(redis_ttl=ttl, redis_prefix=f"{redis_prefix}{ttl}:")
            backend.record([SlotRecord("a", "x", b"0"), SlotRecord("b", "x.y", b"0")])
            found = keys_under(redis_client, f"{redis_prefix}{ttl}:")
            assert len(found) == 6
            assert {redis_client.pttl(key) > 0 for key in found} == {expected}

    def test_no_write_brings_an_end_nearer(self, open_backend: OpenBackend) -> None:
        """A client with a short time to live leaves a longer one alone."""
        patient, mortal = open_backend(redis_ttl=3600), open_backend()
        patient.record([SlotRecord("a", "x", b"0"), SlotRecord("b", "x.y", b"0")])
        mortal.buffer_append("b", b"1")
        mortal.buffer_append("c", b"1")
        self.elapse(self.ttl_s)
        assert eventually(lambda: not patient.buffer_thread_exists("c"))
        assert patient.registry_list_all() == {"a": "x", "b": "x.y"}
        assert sorted(patient.buffer_list_threads()) == ["a", "b"]

    def test_every_operation_is_one_command(
        self, redis_server: RedisServer, redis_prefix: str
    ) -> None:
        """So nobody sees it half done: one command, one script, never several."""

        class Counting(redis.Redis):
            count = 0

            def execute_command(self, *words: Any, **options: Any) -> Any:
                self.count += 1
                return super().execute_command(*words, **options)  # type: ignore[no-untyped-call]

        with Counting.from_url(redis_server.url) as client:
            backend = RedisBackend(prefix=redis_prefix, client=client)
            for use in uses_of(backend):
                use()  # loads its script, where the server does not know it
                client.count = 0
                use()
                assert client.count <= 1

    def test_no_operation_looks_at_every_key(self) -> None:
        """Neither `KEYS` nor a scan of the whole database, in scripts as outside of them."""
        with running_redis() as server:
            backend = RedisBackend(server.url)
            for use in uses_of(backend):
                use()
            used = backend._client.info("commandstats")
            backend.close()
        assert "cmdstat_evalsha" in used
        assert "cmdstat_zrange" in used
        assert not {"cmdstat_keys", "cmdstat_scan", "cmdstat_flushdb"} & set(used)

    def test_it_needs_no_thread(self, redis_server: RedisServer, redis_prefix: str) -> None:
        """What ends is ended by Redis itself."""
        before = threading.active_count()
        backend = RedisBackend(redis_server.url, redis_prefix, ttl=60)
        for use in uses_of(backend):
            use()
        assert threading.active_count() == before
        backend.close()

    @pytest.mark.parametrize("kind", ["plain", "glob", "nested"])
    def test_prefixes_isolate_tenants(self, open_backend: OpenBackend, kind: str) -> None:
        """Clearing one tenant spares another, however their prefixes resemble each other."""
        name = uuid4().hex
        ours, theirs = {
            "plain": (f"{name}-1:", f"{name}-2:"),
            "glob": (f"{name}[ab]*?\\", f"{name}a"),
            "nested": (f"{name}:", f"{name}:t:"),
        }[kind]
        first, second = open_backend(redis_prefix=ours), open_backend(redis_prefix=theirs)
        for backend in (first, second):
            for thread_id in ("a", "t:a", "i:threads", "threads"):
                backend.record([SlotRecord(thread_id, f"chain {thread_id}", theirs.encode())])
        first.buffer_clear()
        first.registry_clear()
        assert first.info()["buffer_threads"] == first.info()["registry_entries"] == 0
        assert second.info()["buffer_threads"] == second.info()["registry_entries"] == 4
        assert second.buffer_get_thread("a") == [theirs.encode()]
        second.forget(second.buffer_list_threads())

    def test_a_handed_in_client_stays_open(
        self, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """Whoever opens a connection closes it."""
        RedisBackend(prefix=redis_prefix, client=redis_client).close()
        assert redis_client.ping()

    def test_unix_sockets_and_databases_pass_through(
        self, redis_server: RedisServer, redis_prefix: str
    ) -> None:
        """`unix://` works, and the URL's database is the one used."""
        url = f"unix://{redis_server.socket_path}?db=3"
        backend = RedisBackend(url, redis_prefix, ttl=60)
        backend.buffer_append("a", b"x")
        elsewhere = RedisBackend(redis_server.url, redis_prefix)
        assert elsewhere.buffer_list_threads() == []
        assert backend.buffer_list_threads() == ["a"]
        backend.forget(["a"])
        backend.close()
        elsewhere.close()


class TestRedisInTrouble:
    def test_a_server_that_is_down(self) -> None:
        """Refused means unavailable, naming host and port and never the password."""
        port = free_port()
        backend = RedisBackend(f"redis://me:s3cret@127.0.0.1:{port}/0")
        assert not backend.ping()
        with pytest.raises(BackendUnavailableError, match=f"127.0.0.1:{port}") as caught:
            backend.buffer_append("a", b"x")
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))
        backend.close()

    def test_a_server_that_is_silent(self) -> None:
        """A server that accepts and never answers costs the socket timeout, no more."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            backend = RedisBackend(f"redis://127.0.0.1:{port}/0?socket_timeout=0.1")
            with pytest.raises(BackendUnavailableError, match=str(port)):
                backend.buffer_list_threads()
            backend.close()

    def test_a_wrong_password(self) -> None:
        """A password the server refuses is unavailability, and is not repeated."""
        with running_redis("--requirepass", "right") as server:
            for account in ("", "me:wr0ng@", ":wr0ng@"):
                backend = RedisBackend(f"redis://{account}{server.host}:{server.port}/0")
                with pytest.raises(BackendUnavailableError, match=str(server.port)) as caught:
                    backend.buffer_append("a", b"x")
                assert "wr0ng" not in "".join(traceback.format_exception(caught.value))
                backend.close()
            backend = RedisBackend(f"redis://:right@{server.host}:{server.port}/0")
            assert backend.buffer_append("a", b"x") == 0
            backend.close()

    def test_a_server_that_refuses(self) -> None:
        """Out of memory or of replicas: unavailable, with the reason, and nothing half done."""
        with running_redis() as server:
            backend = RedisBackend(server.url)
            backend.record([SlotRecord("a", "x", b"0")])
            backend._client.config_set("maxmemory", 1)
            with pytest.raises(BackendUnavailableError, match="memory"):
                backend.record([SlotRecord("a", "x", b"1"), SlotRecord("b", "y", b"1")])
            with pytest.raises(BackendUnavailableError, match="memory"):
                backend.registry_set("z", "c")
            backend._client.config_set("maxmemory", 0)
            backend._client.config_set("min-replicas-to-write", 1)
            with pytest.raises(BackendUnavailableError, match="NOREPLICAS"):
                backend.buffer_append("b", b"1")
            assert backend.buffer_get_thread("a") == [b"0"]
            assert backend.registry_list_all() == {"a": "x"}
            backend.close()

    def test_a_server_that_hangs_up(self, redis_server: RedisServer, redis_prefix: str) -> None:
        """A broken connection costs one call at most; the next one connects anew."""
        backend = RedisBackend(redis_server.url, redis_prefix, ttl=60)
        backend.buffer_append("a", b"x")
        address = backend._client.client_info()["addr"]
        with redis.Redis.from_url(redis_server.url) as other:
            other.client_kill(address)
        assert eventually(backend.ping)
        assert backend.buffer_append("a", b"x") == 1
        backend.close()

    def test_a_server_that_goes_away(self) -> None:
        """A server that is killed between two calls is unavailable at the second."""
        with running_redis() as server:
            backend = RedisBackend(server.url)
            backend.buffer_append("a", b"x")
            stop(server.process)
            with pytest.raises(BackendUnavailableError, match=str(server.port)):
                backend.buffer_append("a", b"x")
            backend.close()

    def test_a_master_found_by_sentinel(self, redis_server: RedisServer, redis_prefix: str) -> None:
        """The `sentinel://` form of kombu finds the master, with a dead Sentinel in the list."""
        config = f"sentinel monitor pump 127.0.0.1 {redis_server.port} 1\n"
        with running_redis(sentinel=config) as sentinel:
            nodes = f"sentinel://127.0.0.1:{free_port()};sentinel://127.0.0.1:{sentinel.port}"
            for place in ("/pump", "/0?master_name=pump"):
                backend = RedisBackend(nodes + place, redis_prefix, ttl=60)
                backend.buffer_append("a", b"x")
                backend.close()
            missing = RedisBackend(f"{nodes}/nobody")
            with pytest.raises(BackendUnavailableError, match="nobody"):
                missing.buffer_append("a", b"x")
            missing.close()
        backend = RedisBackend(redis_server.url, redis_prefix, ttl=60)
        assert backend.buffer_thread_len("a") == 2
        backend.close()
