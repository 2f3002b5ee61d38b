"""The documents: what they tell the reader to type is typed, what they show is what happens."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import backends
import pipeline
from docs.hooks.reference import PAGE, reference
from pipeline.cli.main import main
from tests.collector import Collector, running_collector
from tests.documents import ROOT, Block, Reader, blocks_of
from tests.servers import free_port, require_chromium, require_redis

DOCS = ROOT / "docs"
#: What one reader follows, page after page, in one folder.
SITTINGS = [
    ("README.md", "docs/configuration.md"),
    ("docs/start.md",),
    ("docs/handlers.md",),
    (
        "docs/fleet.md",
        "docs/monitoring.md",
        "docs/operations.md",
        "docs/console.md",
        "docs/traces.md",
    ),
]
READ = {page for sitting in SITTINGS for page in sitting}
PAGES = sorted([ROOT / "README.md", ROOT / "deploy" / "README.md", *DOCS.rglob("*.md")])
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
#: What no test can run: it needs an engine, a cluster or another machine, changes this one, or is
#: what runs the tests.
ELSEWHERE = {"docker", "kubectl", "systemctl", "useradd", "python3", "pip", "make"}
#: What may stand beside it.
BESIDE = {"cp", "install"}
#: What a person types; it belongs into a `console` block.
TYPED = re.compile(r"^(\$|pump|celery|python3?|redis-server|make|docker|kubectl|systemctl|pip) \S")

ORGANISM = """\
organism: {name: parts}
listeners:
  - {name: part, payload_class: handlers.Text, handler: handlers.count}
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Takes what is sent to OpenTelemetry's usual port."""
    with running_collector() as running:
        yield running


@pytest.fixture
def reader(tmp_path: Path, collector: Collector) -> Iterator[Reader]:
    """In an empty folder, with a port of their own for what names one."""
    programs, folder = tmp_path / "programs", tmp_path / "home"
    programs.mkdir()
    folder.mkdir()
    (programs / "redis-server").symlink_to(shutil.which(require_redis()) or require_redis())
    ours = {
        "pump console organism.yaml": "pump console organism.yaml --port 8642",
        **{port: str(free_port()) for port in ("6379", "5555", "8642", "8643")},
        "4318": str(collector.port),
    }
    reader = Reader(folder, programs=programs, ours=ours)
    try:
        yield reader
    finally:
        reader.leave()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("pages", SITTINGS, ids=lambda pages: pages[0])
def test_what_they_say_happens(
    reader: Reader, pages: tuple[str, ...], collector: Collector
) -> None:
    """Files are written, commands typed into a terminal, and its output compared."""
    for page in pages:
        reader.follow(blocks_of(ROOT / page))
    names = {span.name for span in collector.spans}
    assert ("send split" in names) == ("docs/traces.md" in pages), names


def test_whatever_can_be_run_is_run() -> None:
    """Each command and snippet stands in a page that is followed, or says why it can't be run."""
    for block in BLOCKS:
        if block.mark.startswith("run by "):
            assert (ROOT / block.mark.removeprefix("run by ")).is_file(), block
        elif block.kind == "console" and block.mark.startswith("not run: "):
            words = {command.split()[0] for command, _ in block.commands}
            assert words & ELSEWHERE, block
            assert words <= ELSEWHERE | BESIDE, block
        elif block.kind == "console" and block.mark.startswith("as in "):
            there = blocks_of(ROOT / block.mark.removeprefix("as in "))
            typed = {command for each in there for command, _ in each.commands}
            assert {_without_comment(command) for command, _ in block.commands} <= typed, block
        elif block.kind in ("console", "python"):
            assert block.page in READ, f"{block} is not run"
            assert block.kind == "console" or block.file, f"{block} has no name"
        else:
            assert block.kind in ("", "text", "yaml"), block
            typed_lines = filter(TYPED.match, block.text.splitlines())
            assert block.kind == "yaml" or not list(typed_lines), f"{block} is no console"


def _without_comment(command: str) -> str:
    return command.partition("  #")[0].rstrip()


@pytest.mark.parametrize(
    "block", [each for each in BLOCKS if each.kind == "yaml" and each.file == ""], ids=str
)
def test_parts_of_an_organism_are_sound(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`pump check` accepts them within an organism; whole ones the reader runs."""
    (python,) = [each for each in BLOCKS if (each.page, each.file) == ("README.md", "handlers.py")]
    (tmp_path / "handlers.py").write_text(python.text)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("PUMP_SIGNING_KEY", "a key of sixteen bytes or more")
    for index, part in enumerate(_parts(block)):
        file = tmp_path / f"organism-{index}.yaml"
        file.write_text(ORGANISM + part)
        monkeypatch.delitem(sys.modules, "handlers", raising=False)
        assert main(["check", str(file)]) == 0, capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "handlers", raising=False)


def _parts(block: Block) -> list[str]:
    if not block.mark.startswith("in "):
        return [block.text]
    section = block.mark.removeprefix("in ")
    return [f"{section}:\n  {line}\n" for line in block.text.splitlines()]


def test_the_reference_is_up_to_date() -> None:
    """`make site` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_every_public_name_is_in_the_reference() -> None:
    """Of both packages."""
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    names = set(re.findall(r"^::: ([\w.]+)", text, re.MULTILINE))
    for package in (pipeline, backends):
        # Slots are the pipeline's as well.
        public = {name for name in package.__all__ if not hasattr(pipeline, name)}
        assert {f"{package.__name__}.{name}" for name in public} <= names
    assert {f"pipeline.{name}" for name in pipeline.__all__} <= names


def test_links_lead_somewhere_in_the_repository_too() -> None:
    """Who reads a page where it stands finds the others; the site checks anchors besides."""
    for page in PAGES:
        for link in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)}: {link}"


class _Links(HTMLParser):
    """What a page loads, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a":
            self.leads.append(found.get("href") or "")
        elif tag in ("script", "link", "img", "iframe", "source"):
            self.loads.append(found.get("src") or found.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make site` builds it: every link checked, every warning an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_menu(site: Path) -> None:
    """And nothing else is."""
    links = _Links()
    links.feed((site / "index.html").read_text(encoding="utf-8"))
    led_to = {link.partition("#")[0] for link in links.leads if ":" not in link}
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")} - {"404.html"}
    assert led_to - {"", "."} == pages
    written = {
        page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")
    }
    assert pages == written | {"deployment.html", "changes.html"}


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    """No font, no script, no picture; search included."""
    for page in site.rglob("*.html"):
        links = _Links()
        links.feed(page.read_text(encoding="utf-8"))
        for link in links.loads:
            assert not re.match(r"https?:|//", link), f"{page.name}: {link}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text(encoding="utf-8"))
    assert "var __index" in (site / "search" / "search_index.js").read_text(encoding="utf-8")


def test_its_search_needs_no_server(site: Path, tmp_path: Path) -> None:
    """In a browser, from a folder."""
    browser = require_chromium()
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    page = f"{(site / 'index.html').as_uri()}?q=dead+letters"
    done = subprocess.run(
        [browser, *options, "--virtual-time-budget=10000", "--dump-dom", page],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert re.search(r"\d+ matching documents", done.stdout), done.stderr
    assert "operations.html?h=dead" in done.stdout
