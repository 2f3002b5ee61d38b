"""Which of a server's connections are this process's own."""

from pathlib import Path

import redis


def own_connections(client: redis.Redis) -> list[dict[str, str]]:
    """As CLIENT LIST tells of them, but for *client*'s own."""
    ports = _local_ports()
    mine = client.client_id()
    return [
        each
        for each in client.client_list()
        if int(each["addr"].rpartition(":")[2]) in ports and int(each["id"]) != mine
    ]


def _local_ports() -> set[int]:
    inodes = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            target = fd.readlink().name
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in inodes}
