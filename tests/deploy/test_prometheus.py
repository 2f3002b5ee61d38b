"""A real Prometheus over a real fleet: every panel, rule and query of `deploy/` gets its answer.

`make deploy-check` runs it; half a minute.
"""

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.fleets import pump, write_sums
from tests.deploy.files import need
from tests.deploy.monitoring import (
    PROMETHEUS,
    alerts,
    dashboard,
    panels,
    scaling_query,
    selectors,
)
from tests.scraping import Scraped, scraped
from tests.servers import free_port, running_redis
from tests.waiting import eventually

LONG_S = 90.0
#: What Grafana puts in place of its variables, for scrapes a second apart.
VARIABLES = {"$__rate_interval": "15s", "$organism": "test"}
#: Empty while all is well.
QUIET = {'celery_pump_event_loop_stall_seconds{organism="$organism"} > 1'}


class Server:
    """Prometheus's HTTP interface."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str) -> Any:
        """The data behind a path; None where nobody answers yet.

        Raises:
            AssertionError: it does not like what was asked.
        """
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - on loopback
                told = json.load(answer)
        except urllib.error.HTTPError as exc:
            with exc:
                said = exc.read().decode()
            if exc.code == HTTPStatus.SERVICE_UNAVAILABLE:
                return None
            raise AssertionError(f"{parameters}: {said}") from exc
        except OSError:
            return None
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression: str) -> list[Any]:
        """The rows an expression has now."""
        found = self.ask("query", query=expression)
        return list(found["result"]) if found else []

    def firing(self) -> set[str]:
        """Names of alerts that are set off, or will be if that lasts."""
        found = self.ask("alerts")
        return {each["labels"]["alertname"] for each in found["alerts"]} if found else set()


@contextmanager
def running_prometheus(folder: Path, targets: list[int]) -> Iterator[Server]:
    """With our own configuration, but that it asks each second, and for these ports."""
    program, port = need("prometheus"), free_port()
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = dict.fromkeys(configuration["global"], "1s")
    (job,) = configuration["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{each}" for each in targets]}]
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    (folder / "alerts.yml").write_text((PROMETHEUS / "alerts.yml").read_text())
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": f"127.0.0.1:{port}",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *(f"--{name}={value}" for name, value in options.items())],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = Server(port)
    try:
        assert eventually(lambda: server.ask("targets") is not None, timeout_s=LONG_S), (
            folder / "log"
        ).read_text()
        yield server
    finally:
        process.terminate()
        process.wait(LONG_S)


def _filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def _work(folder: Path) -> None:
    """Something of every kind: done, failed, tried again, dead."""
    for to, payload in (("squares", '{"n":30}'), ("picky", '{"n":1}'), ("deadly", '{"n":1}')):
        pump(folder, "send", "organism.yaml", to, payload)


def test_every_panel_rule_and_query_has_an_answer(tmp_path: Path) -> None:
    """While a fleet works; and once its worker is gone, what should say so does."""
    if not os.environ.get("DEPLOY_CHECK"):
        pytest.skip("make deploy-check runs it")
    folder = tmp_path / "o"
    with running_redis() as redis:
        once = {"max_attempts": 1, "lease_s": 2}
        write_sums(folder, redis.url, "x:", process_pool={"workers": 1}, celery=once)
        with (
            scraped(folder, "run", "worker") as (runs, works),
            running_prometheus(tmp_path / "p", [runs.port, works.port]) as server,
        ):
            assert eventually(lambda: len(server.query("up == 1")) == 2, timeout_s=LONG_S)
            _has_answers(server, folder)
            _scales(server, folder)
            _sees_its_end(server, folder, works)


def _has_answers(server: Server, folder: Path) -> None:
    asked = {_filled(expression) for _, expression in panels() if expression not in QUIET}
    asked.add(_scaling())
    # An alert is silent while all is well; what it looks at is there all the same.
    asked |= {each for alert in alerts() for each in selectors(alert.expression)}
    missing = set(asked)
    for _ in range(5):
        _work(folder)
        if eventually(lambda: _answered(server, missing), timeout_s=5):
            break
    assert not missing
    for expression in QUIET:
        assert server.query(_filled(expression)) == []
    (label,) = (
        re.findall(r"label_values\((\w+), (\w+)\)", variable["definition"])[0]
        for variable in dashboard()["templating"]["list"]
        if "definition" in variable
    )
    assert server.ask(f"label/{label[1]}/values", **{"match[]": label[0]}) == ["test"]
    rules = [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["health"] for rule in rules} == {
        alert.name: "ok" for alert in alerts()
    }


def _answered(server: Server, missing: set[str]) -> bool:
    """Take out what has an answer; true when none is left."""
    missing -= {
        expression
        for expression in missing
        if any(row["value"][1] != "NaN" for row in server.query(expression))
    }
    return not missing


def _scaling() -> str:
    return scaling_query().replace("stdlib-audit", "test")


def _says(server: Server, expression: str, value: int) -> bool:
    """True once it has this value, and no other row beside it."""
    return eventually(
        lambda: [row["value"][1] for row in server.query(expression)] == [str(value)],
        timeout_s=LONG_S,
    )


def _gate(folder: Path, *numbers: int) -> None:
    """Runs that go on until there is a file `gate`."""
    for n in numbers:
        payload = json.dumps({"n": n})
        pump(folder, "send", "organism.yaml", "gate", payload, "--no-wait")


def _scales(server: Server, folder: Path) -> None:
    """What KEDA asks: what runs and what waits in one number, and none at rest."""
    assert _says(server, _scaling(), 0)
    _gate(folder, 1)
    assert eventually((folder / "begun.1").exists, timeout_s=LONG_S)
    assert _says(server, _scaling(), 1)
    _gate(folder, 2, 3)
    assert _says(server, _scaling(), 3)
    # The worker has one process: one runs, and the others have not begun.
    assert len(list(folder.glob("begun.*"))) == 1
    (folder / "gate").touch()
    assert _says(server, _scaling(), 0)
    (folder / "gate").unlink()


def _sees_its_end(server: Server, folder: Path, worker: Scraped) -> None:
    assert "CeleryPumpNoWorker" not in server.firing()
    _gate(folder, 4, 5)
    assert _says(server, _scaling(), 2)
    worker.command.process.send_signal(signal.SIGKILL)
    expected = {"CeleryPumpNoWorker", "CeleryPumpDeadLetters", "CeleryPumpHandlerFailures"}
    assert eventually(lambda: expected <= server.firing(), timeout_s=LONG_S), server.firing()
