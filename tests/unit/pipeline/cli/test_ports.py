"""A port that is kept for a server of ours."""

import socket
import sys

import pytest

from pipeline.cli.ports import kept_port
from tests.servers import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a port be kept")


def test_two_at_once_get_two() -> None:
    """Though neither's server listens yet."""
    usual = free_port()
    with kept_port(usual) as first, kept_port(usual) as second:
        assert (first, second == usual) == (usual, False)


def test_its_server_may_listen_there() -> None:
    """By Tornado, as Flower does."""
    netutil = pytest.importorskip("tornado.netutil")
    with kept_port(free_port()) as port:
        (listener,) = netutil.bind_sockets(port, "127.0.0.1")
        with listener, socket.create_connection(("127.0.0.1", port), 5):
            accepted, _ = listener.accept()
            accepted.close()


def test_where_somebody_listens_it_is_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with kept_port(taken) as port:
            assert port != taken
