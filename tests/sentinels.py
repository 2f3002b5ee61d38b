"""A primary, its replicas and three Sentinels: the primary can be killed, and come back.

As `deploy/redis` has them, each party with a user of its own; tests name none, and may do anything
with the servers.
"""

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
from tests.servers import (
    ACCOUNT,
    SENTINEL_CONF,
    DurableRedis,
    RedisServer,
    access_rules,
    account,
    password_of,
    running_redis,
)
from tests.waiting import eventually

SERVICE = "pump"
#: As many as the template's quorum of two is made for.
SENTINELS = 3
#: Milliseconds of silence after which a Sentinel takes the primary for dead.
DOWN_AFTER_MS = 1000
#: Milliseconds after which a failover that came to nothing is tried again.
FAILOVER_MS = 5000
#: Keeps nothing on disk; a replica that asks is served at once.
_OPTIONS = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5")
_READY_S = 30.0
_AS_REPLICA = ("--masteruser", "replica", "--masterauth", password_of("replica"))


class Watched:
    """A primary with its replicas, and who watches them."""

    def __init__(self, servers: Sequence[DurableRedis], sentinels: Sequence[RedisServer]) -> None:
        self._servers = {server.port: server for server in servers}
        user, password = "client", password_of("client")
        self._sentinels = [
            redis.Redis(
                host=each.host,
                port=each.port,
                username=user,
                password=password,
                retry=Retry(NoBackoff(), 0),
            )
            for each in sentinels
        ]
        self._proxies: list[Proxy] = []
        #: As an organism's file has it: each process is the user that its environment says.
        who = f"${{{ACCOUNT}:-{account('pump')}}}"
        nodes = ";".join(f"sentinel://{who}@{each.host}:{each.port}" for each in sentinels)
        self.url = f"{nodes}/{SERVICE}?sentinel_username={user}&sentinel_password={password}"

    @property
    def primary(self) -> int:
        """The port of the server that most Sentinels name."""
        named = [self._named_by(sentinel) for sentinel in self._sentinels]
        return max(named, key=named.count)

    @property
    def failovers(self) -> int:
        """How many there have been: one as well where a busy machine delays an answer too long."""
        return max(int(view["config-epoch"]) for view in self._views())

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
        return all(
            view["num-slaves"] >= replicas
            and view["num-other-sentinels"] == SENTINELS - 1
            and not view["is_master_down"]
            and not view["is_disconnected"]
            for view in self._views()
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

    def _views(self) -> list[Any]:
        return [each.sentinel_master(SERVICE) for each in self._sentinels]

    def _named_by(self, sentinel: Any) -> int:
        return int(sentinel.sentinel_get_master_addr_by_name(SERVICE)[1])


def _follows(client: redis.Redis, port: int) -> bool:
    found: Any = client.info("replication")
    return bool(found["master_port"] == port and found["master_link_status"] == "up")


def _sentinel_conf(port: int) -> str:
    """What `deploy/redis/sentinel.conf` is once it is filled in."""
    text = SENTINEL_CONF.read_text().replace("10.0.0.1 6379", f"127.0.0.1 {port}")
    for user in ("sentinel", "client", "among"):
        text = text.replace(f"{user.upper()}_PASSWORD", password_of(user))
    return text.replace("mymaster", SERVICE) + (
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {SERVICE} {FAILOVER_MS}\n"
    )


@contextmanager
def watched_redis(*options: str, prefix: str, replicas: int = 2) -> Iterator[Watched]:
    """A primary and its replicas, in step, watched by three Sentinels, until the block ends.

    Args:
        options: of every server.
        prefix: what the users `pump` and `worker` may touch.
    """
    with ExitStack() as stack:
        servers: list[DurableRedis] = []
        rules = access_rules(prefix, has_default=True, is_watched=True)
        for _ in range(1 + replicas):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pump-test-redis-"))
            file = Path(folder) / "watched.acl"
            file.write_text(rules)
            users = ("--aclfile", str(file), *_AS_REPLICA)
            following = ("--replicaof", "127.0.0.1", str(servers[0].port)) if servers else ()
            server = DurableRedis(Path(folder), (*_OPTIONS, *users, *options, *following))
            server.start()
            stack.callback(server.kill)
            servers.append(server)
        config = _sentinel_conf(servers[0].port)
        sentinels = [stack.enter_context(running_redis(sentinel=config)) for _ in range(SENTINELS)]
        watched = Watched(servers, sentinels)
        stack.callback(watched.close)
        if not eventually(watched.is_in_step, timeout_s=_READY_S):
            raise RuntimeError("no replica, or no Sentinel, knows of the others")
        yield watched
