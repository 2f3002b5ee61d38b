"""A primary, its replicas and three Sentinels: the primary can be killed, and come back."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.proxy import Proxy
from tests.servers import DurableRedis, RedisServer, running_redis
from tests.waiting import eventually

SERVICE = "pump"
SENTINELS, QUORUM = 3, 2
#: Milliseconds of silence after which a Sentinel takes the primary for dead.
DOWN_AFTER_MS = 1000
#: Milliseconds after which a failover that came to nothing is tried again.
FAILOVER_MS = 5000
#: Keeps nothing on disk; a replica that asks is served at once.
_OPTIONS = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5")
_READY_S = 30.0


class Watched:
    """A primary with its replicas, and who watches them."""

    def __init__(self, servers: Sequence[DurableRedis], sentinels: Sequence[RedisServer]) -> None:
        self._servers = {server.port: server for server in servers}
        self._sentinels = [
            redis.Redis(host=each.host, port=each.port, retry=Retry(NoBackoff(), 0))
            for each in sentinels
        ]
        self._proxies: list[Proxy] = []
        #: As a pump has it.
        nodes = ";".join(f"sentinel://{each.host}:{each.port}" for each in sentinels)
        self.url = f"{nodes}/{SERVICE}"

    @property
    def primary(self) -> int:
        """The port of the server that most Sentinels name."""
        named = [self._named_by(sentinel) for sentinel in self._sentinels]
        return max(named, key=named.count)

    def client(self, port: int) -> redis.Redis:
        """Of one of the servers."""
        return redis.Redis(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0))

    def kill_primary(self) -> int:
        """SIGKILL; its port."""
        port = self.primary
        self._servers[port].kill()
        return port

    def hold_replicas_back(self) -> None:
        """From now on they hear of nothing; their connections to the primary stand.

        For seconds: a Sentinel would then have them follow the primary again.
        """
        primary = self.primary
        proxy = Proxy(primary)
        proxy.start()
        self._proxies.append(proxy)
        for replica in self._servers.keys() - {primary}:
            with self.client(replica) as client:
                client.replicaof("127.0.0.1", proxy.port)
                if not eventually(partial(_follows, client, proxy.port)):
                    raise RuntimeError("a replica does not follow by way of the proxy")
        proxy.freeze()

    def has_moved_from(self, port: int) -> bool:
        """True when another server is the primary, and takes writes."""
        primary = self.primary
        if primary == port:
            return False
        return self._role(primary) == "master"

    def revive(self, port: int) -> None:
        """Start a killed server: Sentinels make it a replica; done when it is one, and caught up.

        Raises:
            RuntimeError: they don't.
        """
        self._servers[port].start()
        if not eventually(self.is_in_step, timeout_s=_READY_S):
            raise RuntimeError("the old primary did not become a replica")

    def is_in_step(self) -> bool:
        """True when all others follow the primary, and every Sentinel knows everybody."""
        primary = self.primary
        try:
            with self.client(primary) as client:
                found: Any = client.info("replication")
        except redis.RedisError:
            return False
        replicas = len(self._servers) - 1
        states = [found.get(f"slave{index}", {}).get("state") for index in range(replicas)]
        if found["role"] != "master" or states != ["online"] * replicas:
            return False
        views: list[Any] = [each.sentinel_master(SERVICE) for each in self._sentinels]
        return all(
            view["num-slaves"] >= replicas
            and view["num-other-sentinels"] == SENTINELS - 1
            and not view["is_master_down"]
            and not view["is_disconnected"]
            for view in views
        )

    def close(self) -> None:
        """Ask no more."""
        for proxy in self._proxies:
            proxy.stop()
        for sentinel in self._sentinels:
            sentinel.close()

    def _role(self, port: int) -> str:
        try:
            with self.client(port) as client:
                return str(client.info("replication")["role"])
        except redis.RedisError:
            return ""

    def _named_by(self, sentinel: Any) -> int:
        return int(sentinel.sentinel_get_master_addr_by_name(SERVICE)[1])


def _follows(client: redis.Redis, port: int) -> bool:
    found: Any = client.info("replication")
    return bool(found["master_port"] == port and found["master_link_status"] == "up")


@contextmanager
def watched_redis(*options: str, replicas: int = 2) -> Iterator[Watched]:
    """A primary and its replicas, in step, watched by three Sentinels, until the block ends.

    Args:
        options: of every server.
    """
    with ExitStack() as stack:
        servers: list[DurableRedis] = []
        for _ in range(1 + replicas):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pump-test-redis-"))
            following = ("--replicaof", "127.0.0.1", str(servers[0].port)) if servers else ()
            server = DurableRedis(Path(folder), (*_OPTIONS, *options, *following))
            server.start()
            stack.callback(server.kill)
            servers.append(server)
        config = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {servers[0].port} {QUORUM}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} {FAILOVER_MS}\n"
        )
        sentinels = [stack.enter_context(running_redis(sentinel=config)) for _ in range(SENTINELS)]
        watched = Watched(servers, sentinels)
        stack.callback(watched.close)
        if not eventually(watched.is_in_step, timeout_s=_READY_S):
            raise RuntimeError("no replica, or no Sentinel, knows of the others")
        yield watched
