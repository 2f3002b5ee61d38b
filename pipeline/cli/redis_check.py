"""What `pump check` says of the Redis behind an organism."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backends.errors import BackendError
from backends.redis.inspection import OLDEST_VERSION, Server, inspect_server
from pipeline.cli.options import WHY_NO_CLUSTER
from pipeline.errors import ConfigError
from pipeline.organism import Organism
from tasks.broker import broker_url
from tasks.names import EXECUTOR

#: Share of `maxmemory` in use above which little is left.
FULL_SHARE = 0.8
_REDIS = ("redis", "rediss", "unix", "sentinel")
_MIB = 1024**2
#: Said of a server that could not be asked.
UNKNOWN_LOSS = "without appendfsync always, a Redis restart may lose the last 2 seconds or more"


@dataclass
class Findings:
    """The servers that could be asked, and what is worth knowing."""

    servers: list[Server] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def facts(self) -> list[dict[str, Any]]:
        """The servers, for programs."""
        return [asdict(server) for server in self.servers]


def check_redis(organism: Organism, file: Path) -> Findings:
    """Ask the servers that *organism* names. One that does not answer is a note.

    Raises:
        ConfigError: a server can't do what is asked of it.
    """
    findings = Findings()
    if organism.backend.backend_type != "redis":
        return findings
    problems: list[str] = []
    findings.notes += _timing_notes(organism)
    for setting, url in _urls(organism).items():
        try:
            server = inspect_server(url)
        except ValueError as exc:
            problems.append(f"{file}: {setting}: {exc}")
        except BackendError as exc:
            findings.notes += [f"not checked: {exc}", UNKNOWN_LOSS]
        else:
            findings.servers.append(server)
            problems += [f"{file}: {setting}: {text}" for text in _problems(server)]
            findings.notes += _notes(server, keeps_work=setting == "backend.redis_url")
    if problems:
        raise ConfigError(*problems)
    return findings


def _urls(organism: Organism) -> dict[str, str]:
    """Each Redis by the setting that names it, the same one once."""
    urls = {"backend.redis_url": organism.backend.redis_url}
    broker = broker_url(organism)
    if urlsplit(broker).scheme in _REDIS and broker not in urls.values():
        urls["celery.broker_url"] = broker
    return urls


def _problems(server: Server) -> list[str]:
    problems = []
    if server.is_cluster:
        problems.append(f"{server.where} is a node of a Redis Cluster, {WHY_NO_CLUSTER}")
    if server.is_old:
        oldest = ".".join(map(str, OLDEST_VERSION))
        problems.append(f"{server.where} is Redis {server.version}; {oldest} or newer is needed")
    return problems


def _notes(server: Server, *, keeps_work: bool) -> list[str]:
    where = server.where
    notes = []
    if server.eviction not in ("noeviction", None):
        notes.append(
            f"{where} evicts keys when it is full (maxmemory-policy {server.eviction}),"
            " and messages with them; set noeviction"
        )
    if server.max_bytes and server.used_bytes > FULL_SHARE * server.max_bytes:
        notes.append(
            f"{where} uses {server.used_bytes / _MIB:,.0f} MiB of its"
            f" {server.max_bytes / _MIB:,.0f} MiB maxmemory; when full it takes no message"
        )
    if keeps_work:
        notes += _durability_notes(server)
    return notes


def _durability_notes(server: Server) -> list[str]:
    if not server.is_appending:
        text = (
            "has no append-only file (appendonly no): a restart loses all since its last snapshot"
        )
        return [f"{server.where} {text}"]
    if server.fsync == "always":
        return []
    loses = {"everysec": "the last 2 seconds", "no": "whatever the system had not written"}
    lost = loses.get(server.fsync or "", "the last seconds, unless appendfsync is always")
    return [
        f"{server.where} has appendfsync {server.fsync or 'unknown'}: a restart may lose {lost}"
    ]


def _timing_notes(organism: Organism) -> list[str]:
    visibility_s = organism.celery.visibility_timeout_s
    limits = [
        (listener.timeout_s, listener.name)
        for listener in organism.listeners
        if organism.executor_of(listener) == EXECUTOR and listener.timeout_s is not None
    ]
    longest_s, name = max(limits, default=(0.0, ""))
    if visibility_s is None or longest_s < visibility_s:
        return []
    text = "the broker hands out copies of what still runs, and workers drop them"
    setting = f"celery.visibility_timeout_s ({visibility_s:g} s)"
    return [f"{setting} is not above {name}'s timeout_s ({longest_s:g} s): {text}"]
