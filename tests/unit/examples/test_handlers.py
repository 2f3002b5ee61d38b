"""The organism's handlers, and the organism over a tree that changes under it."""

from pathlib import Path

import pytest
from audit import handlers
from audit.payloads import Findings, Module, Report, Tree
from audit.plain import audit_plainly

from pipeline import (
    HandlerMetadata,
    HandlerResponse,
    StreamPump,
)

SOURCES = {"a.py": "def f(x):\n    return x or 1\n", "b.py": "def (", "c.py": "import a\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, source in SOURCES.items():
        (tmp_path / name).write_text(source)
    return tmp_path


def organism(*, changing: bool = False) -> StreamPump:
    """The example's listeners on the event loop; *changing*, every analysis adds files."""

    def analyze(payload: Module, metadata: HandlerMetadata) -> HandlerResponse:
        if changing:
            Path(payload.root, f"_{payload.path}").touch()
            if payload.path == "a.py":
                raise RuntimeError("out of luck")
        return handlers.analyze(payload, metadata)

    pump = StreamPump(name="stdlib-audit")
    pump.register("auditor", handlers.audit, Tree)
    pump.register("analyzer", analyze, Module)
    pump.register("reporter", handlers.report, Findings)
    return pump


async def test_the_organism_reports_what_a_plain_loop_does(folder: Path) -> None:
    """Over the pump or without it."""
    async with organism() as pump:
        report = await pump.request("auditor", Tree(str(folder)), timeout_s=30)
    assert report == audit_plainly(Tree(str(folder)))
    assert [each.path for each in report.skipped] == ["b.py"]


async def test_a_failed_analysis_is_skipped_under_its_own_name(folder: Path) -> None:
    """Even when the folder has other files by then."""
    async with organism(changing=True) as pump:
        report: Report = await pump.request("auditor", Tree(str(folder)), timeout_s=30)
    assert [(each.path, each.reason) for each in report.skipped] == [
        ("a.py", "RuntimeError: out of luck"),
        ("b.py", "SyntaxError: invalid syntax (line 1)"),
    ]
    assert report.modules == 1


async def test_an_empty_folder_is_reported_too(tmp_path: Path) -> None:
    """A scatter of nothing ends at once."""
    async with organism() as pump:
        report = await pump.request("auditor", Tree(str(tmp_path)), timeout_s=30)
    assert report.modules == 0
