"""Where Celery's broker is, in kombu's terms, and how long anybody waits for it."""

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from backends.contact import contact_with
from backends.redis.connection import SentinelTarget, connect, describe, disconnect, refused
from backends.redis.refusals import refusal_in
from pipeline.organism import Organism
from tasks.batch import STINT_S

if TYPE_CHECKING:
    # The command line imports this module, and most of its commands need no Celery.
    from celery import Celery

#: Seconds until a broker that does not answer counts as away.
TIMEOUT_S = 5.0
#: RabbitMQ's own way to say that a message is on disk; Redis's answer says as much.
_AMQP = ("amqp", "amqps", "pyamqp")
#: Those that our own client of Redis can ask, and kombu's besides.
OWN_SCHEMES = ("redis", "rediss", "sentinel", "unix")
_REDIS = (*OWN_SCHEMES, "redis+socket")


def broker_url(organism: Organism) -> str:
    """The broker as the organism names it: its own, or the backend's Redis."""
    return organism.celery.broker_url or organism.backend.redis_url


class BrokerWatch:
    """Whether the broker is there, and takes writes; as one process sees it.

    Args:
        app: the organism's.
    """

    def __init__(self, app: "Celery", organism: Organism) -> None:
        self._url = broker_url(organism)
        if organism.celery.broker_url:
            # Its password is left out of this.
            self.contact = contact_with(app.connection_for_write().as_uri(), "broker")
        else:
            # The ledger's: both are one server.
            self.contact = contact_with(describe(connect(self._url)))

    def lost(self, reason: BaseException, *, since: float) -> None:
        """Something failed with *reason*, a library's own, that was begun at *since*."""
        refusal = refusal_in(reason)
        self.contact.lost(refused(refusal, self.contact.where) if refusal else reason, since=since)

    def ask(self) -> None:
        """Ask over a new connection whether it refuses whatever it is asked.

        Raises:
            redis.RedisError: it does, or is not there; never where it is no Redis.
        """
        if self._url.partition("://")[0] not in OWN_SCHEMES:
            return
        # Kombu's own would try again and again.
        client = connect(self._url)
        try:
            client.ping()
        finally:
            disconnect(client)


def broker_settings(organism: Organism) -> dict[str, Any]:
    """Celery's broker settings for *organism*.

    Keys in Redis begin with `celery.` and the organism's own prefix, so two organisms can
    share one database and neither takes a Celery key for one of the ledger's.
    """
    url = broker_url(organism)
    scheme = url.partition("://")[0]
    if scheme in _AMQP:
        return {
            "broker_url": url,
            "broker_connection_timeout": TIMEOUT_S,
            "broker_transport_options": {"confirm_publish": True},
        }
    if scheme not in _REDIS:
        return {"broker_url": url, "broker_connection_timeout": TIMEOUT_S}
    options: dict[str, Any] = {
        # Kombu waits in BRPOP for less than this.
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "socket_keepalive": True,
        "global_keyprefix": f"celery.{organism.backend.redis_prefix}",
    }
    visibility_timeout_s = organism.celery.visibility_timeout_s
    if visibility_timeout_s is None:
        # What a worker took and did not claim the ledger publishes again, sooner and for less
        # than kombu, which keeps a second copy of every message for that.
        options["ack_emulation"] = False
    else:
        # A copy that comes out after it finds its dispatch claimed, or gone.
        options["visibility_timeout"] = visibility_timeout_s
    if scheme == "sentinel":
        return _sentinel(url, options)
    return {"broker_url": _in_kombus_words(url), "broker_transport_options": options}


def hard_limit_s(timeout_s: float, budget_ms: float) -> int:
    """When Celery kills a process that its own time limits did not stop."""
    return math.ceil(timeout_s + STINT_S + budget_ms / 1000 + TIMEOUT_S)


def _in_kombus_words(url: str) -> str:
    """A URL that redis-py reads, as kombu reads it: the database in the path, TLS in the query."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme in ("unix", "redis+socket"):
        account = parts.netloc.rpartition("@")[0]
        database = query.get("db", query.get("virtual_host", "0"))
        where = f"{account}@" if account else ""
        return f"redis+socket://{where}{parts.path}?virtual_host={quote(database)}"
    path = f"/{query['db']}" if "db" in query else parts.path
    tls = {name: value for name, value in query.items() if name.startswith("ssl_")}
    if parts.scheme == "rediss":
        # Kombu's own default would talk to whoever answers.
        tls.setdefault("ssl_cert_reqs", "required")
    return parts._replace(path=path, query=urlencode(tls)).geturl()


def _sentinel(url: str, options: dict[str, Any]) -> dict[str, Any]:
    target = SentinelTarget.parse(url)
    master = target.of_master
    account = ""
    if master.get("password"):
        user = quote(str(master.get("username") or ""), safe="")
        account = f"{user}:{quote(str(master['password']), safe='')}@"
    nodes = [
        f"sentinel://{account}{host}:{port}/{master.get('db', 0)}" for host, port in target.nodes
    ]
    timeouts = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    return {
        "broker_url": ";".join(nodes),
        "broker_transport_options": {
            **options,
            "master_name": target.name,
            "sentinel_kwargs": {**timeouts, **target.of_sentinels},
        },
    }
