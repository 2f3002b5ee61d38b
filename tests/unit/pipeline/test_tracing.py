"""How a process comes to be traced; each case in a process of its own."""

import os
import subprocess
import sys

import pytest

from pipeline.errors import ConfigError
from pipeline.tracing import VARIABLE, check_environment, exporting_traces, spans_of_process

#: Stands for an installation without a package.
WITHOUT = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.startswith({name!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
SET_UP = """
from pipeline.tracing import exporting_traces, spans_of_process
with exporting_traces("the organism"):
    spans = spans_of_process()
    print(spans is not None)
    if spans is not None:
        from opentelemetry import trace
        trace.get_tracer("tests").start_span("one").end()
"""


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=ours | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "variables", [{}, {VARIABLE: " none"}, {VARIABLE: "console", "OTEL_SDK_DISABLED": "True"}]
)
def test_nothing_is_traced_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """OpenTelemetry's own variables switch it off as well."""
    monkeypatch.delenv(VARIABLE, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with exporting_traces("the organism"):
        assert spans_of_process() is None


def test_an_installed_exporter_is_found_by_its_name() -> None:
    """The service is called after the organism; what has ended is out at the end."""
    done = run(SET_UP, **{VARIABLE: "console"})
    assert done.stdout.startswith("True\n"), done.stderr
    assert '"name": "one"' in done.stdout
    assert '"service.name": "the organism"' in done.stdout


def test_a_provider_that_is_set_is_left_alone() -> None:
    """As `opentelemetry-instrument` sets one."""
    before = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
"""
    done = run(before + SET_UP, **{VARIABLE: "console"})
    assert done.stdout == "True\n", done.stderr


def test_a_collector_that_is_away_holds_nobody_up() -> None:
    """What can't be sent in time is lost."""
    away = {VARIABLE: "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    code = f"import time; began = time.monotonic(){SET_UP}print(time.monotonic() - began < 20)"
    done = run(code, **away)
    assert done.stdout == "True\nTrue\n", done.stderr


def test_a_missing_extra_is_named() -> None:
    """Also where only its API is there, as a dependency of something else."""
    done = run(WITHOUT.format(name="opentelemetry.sdk") + SET_UP, **{VARIABLE: "otlp"})
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith(
        f"{VARIABLE} asks for traces, and OpenTelemetry is not installed:"
        " pip install 'celery-pump[tracing]'"
    )


def test_without_the_extra_everything_else_runs() -> None:
    """Nobody who is not traced needs it."""
    code = WITHOUT.format(name="opentelemetry") + "import pipeline.cli.main, tasks" + SET_UP
    assert run(code).stdout == "False\n"


def test_an_unknown_exporter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what there is."""
    monkeypatch.setenv(VARIABLE, "consle")
    with pytest.raises(ConfigError, match="no exporter 'consle' is installed; there are: console"):
        check_environment()


def test_a_missing_otlp_exporter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here is one that speaks HTTP."""
    monkeypatch.setenv(VARIABLE, "otlp")
    check_environment()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="pip install opentelemetry-exporter-otlp-proto-http"):
        check_environment()
