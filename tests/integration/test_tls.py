"""Everything over TLS, with certificates on both sides; and who is turned away."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from celery import Celery

from backends import BackendUnavailableError, RedisBackend
from pipeline import StreamPump
from pipeline.organism_file import load_organism
from tasks.application import create_app
from tests.acceptance.fleets import pump
from tests.certificates import Authority
from tests.fleet import running_worker, write_organism
from tests.integration.conftest import listener
from tests.integration.worker_handlers import Work
from tests.servers import RedisServer, free_port, has_tls, miss, running_redis

PREFIX = "tls:"


class Door(NamedTuple):
    """A server that speaks TLS alone, and asks for a certificate."""

    server: RedisServer
    port: int
    #: Who signed the server's certificate, and the clients' of which it lets in.
    authority: Authority
    client: tuple[Path, Path]

    def url(self, *, host: str = "127.0.0.1", **options: str | Path) -> str:
        query = urlencode({f"ssl_{name}": str(value) for name, value in options.items()})
        return f"rediss://{host}:{self.port}/0?{query}"

    @property
    def right_url(self) -> str:
        certificate, key = self.client
        return self.url(ca_certs=self.authority.path, certfile=certificate, keyfile=key)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "authority")
    certificate, key = authority.issue("server", "127.0.0.1")
    port = free_port()
    settings = {"port": 0, "tls-port": port, "tls-ca-cert-file": authority.path}
    settings |= {"tls-cert-file": certificate, "tls-key-file": key, "tls-auth-clients": "yes"}
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    if not has_tls():
        miss("this server was built without TLS")
    with running_redis(*options) as server:
        yield Door(server, port, authority, authority.issue("client"))


def application(folder: Path, url: str) -> Celery:
    organism = write_organism(folder / "organism.yaml", url, PREFIX, [listener()])
    return create_app(load_organism(organism))


def reach_broker(folder: Path, url: str) -> None:
    """As workers and publishers do."""
    with closing(application(folder, url).connection_for_write()) as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
        connection.default_channel.client.ping()


def reach_backend(_folder: Path, url: str) -> None:
    """As pumps and workers do."""
    with closing(RedisBackend(url, PREFIX)) as backend:
        backend.buffer_list_threads()


async def test_a_fleet_over_tls(door: Door, tmp_path: Path) -> None:
    """Pump, worker, Celery's broker and our commands, all through the one encrypted door."""
    file = tmp_path / "organism.yaml"
    organism = write_organism(file, door.right_url, PREFIX, [listener()])
    with running_worker(organism):
        async with StreamPump.from_file(organism) as running:
            assert (await running.request("work", Work(7), timeout_s=60)).number == 7
            for command in (
                ["send", "organism.yaml", "work", '{"number": 8}'],
                ["threads"],
                ["check", "organism.yaml"],
                ["dead-letters", "list"],
            ):
                done = await asyncio.to_thread(pump, tmp_path, *command)
                assert done.returncode == 0, done.stderr
    assert f"127.0.0.1:{door.port}" in pump(tmp_path, "check", "--json").stdout
    with closing(door.server.client()) as admin:
        assert admin.info("clients")["connected_clients"] >= 1
        assert admin.config_get("port") == {"port": "0"}


@pytest.mark.parametrize("reach", [reach_broker, reach_backend])
def test_a_server_that_nobody_vouches_for(
    door: Door, tmp_path: Path, reach: Callable[[Path, str], None]
) -> None:
    """Without a word about certificates the system's authorities count, and they know it not."""
    certificate, key = door.client
    stranger = Authority(tmp_path, "stranger")
    for url in (
        door.url(certfile=certificate, keyfile=key),
        door.url(ca_certs=stranger.path, certfile=certificate, keyfile=key),
        f"rediss://127.0.0.1:{door.port}/0",
    ):
        with pytest.raises(Exception, match="certificate verify failed"):
            reach(tmp_path, url)
    reach(tmp_path, door.right_url)


@pytest.mark.parametrize("reach", [reach_broker, reach_backend])
def test_a_server_of_another_name(
    door: Door, tmp_path: Path, reach: Callable[[Path, str], None]
) -> None:
    """Its certificate is for an address; by a name it may be somebody else."""
    certificate, key = door.client
    url = door.url(
        host="localhost", ca_certs=door.authority.path, certfile=certificate, keyfile=key
    )
    with pytest.raises(Exception, match="Hostname mismatch"):
        reach(tmp_path, url)


@pytest.mark.parametrize("reach", [reach_broker, reach_backend])
def test_a_client_that_nobody_vouches_for(
    door: Door, tmp_path: Path, reach: Callable[[Path, str], None]
) -> None:
    """Without a certificate, or with one of another authority, nobody gets in."""
    stranger, key = Authority(tmp_path, "stranger").issue("client")
    for url in (
        door.url(ca_certs=door.authority.path),
        door.url(ca_certs=door.authority.path, certfile=stranger, keyfile=key),
    ):
        with pytest.raises(Exception, match="(?i)certificate|unknown ca|reset|closed|EOF"):
            reach(tmp_path, url)


def test_a_command_says_why_in_one_line(door: Door, tmp_path: Path) -> None:
    """With the place, and no traceback."""
    write_organism(tmp_path / "organism.yaml", door.url(), PREFIX, [listener()])
    done = pump(tmp_path, "threads")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"redis at 127.0.0.1:{door.port} does not answer" in done.stderr


def test_plain_redis_gets_no_answer(door: Door) -> None:
    """What speaks without TLS is not understood."""
    with (
        closing(RedisBackend(f"redis://127.0.0.1:{door.port}/0", PREFIX)) as backend,
        pytest.raises(BackendUnavailableError),
    ):
        backend.buffer_list_threads()
