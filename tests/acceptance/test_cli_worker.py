"""`pump worker`, and Celery's own command, from outside."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.acceptance.fleets import environment, pump, started, write_sums
from tests.servers import RedisServer

CELERY = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", "cpu"]
#: Nobody answers there, and nothing that is refused should ask.
NOWHERE = "redis://127.0.0.1:1/0"


def ours(module: str) -> Path:
    """The file of one of our modules."""
    home = Path(__file__).parents[2]
    return home / module / "__init__.py" if (home / module).is_dir() else home / f"{module}.py"


def test_it_runs_until_told(redis_server: RedisServer, redis_prefix: str, tmp_path: Path) -> None:
    """A name of its own behind the @, no banner, no advice; SIGTERM ends it with 0."""
    write_sums(tmp_path, redis_server.url, redis_prefix)
    with (
        started(tmp_path, "worker", "organism.yaml", "--concurrency", "1") as first,
        started(tmp_path, "worker", "organism.yaml", "--loglevel", "warning") as quiet,
    ):
        assert first.says(" ready."), first.log
        assert len(first.session()) == 2, "a main process and one of its pool"
        (node,) = re.findall(r"(\S+) ready\.", first.log)
        assert re.fullmatch(r"test@\S+-[0-9a-f]{8}", node)
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(30) == 0
        assert not first.session()
        for word in ("superuser", "[config]", "-------"):
            assert word not in first.log
        quiet.process.send_signal(signal.SIGTERM)
        quiet.process.wait(30)
        assert "ready" not in quiet.log


def test_every_mistake_at_once(tmp_path: Path) -> None:
    """A line each, exit 2, and no worker."""
    write_sums(tmp_path, NOWHERE, "x:", celery={"lease": 3})
    organism = yaml.safe_load((tmp_path / "organism.yaml").read_text())
    organism["listeners"][0]["handler"] = "sums.nothing"
    (tmp_path / "organism.yaml").write_text(yaml.safe_dump(organism))
    done = pump(tmp_path, "worker", "organism.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert 'celery: unknown key "lease"' in first
    assert 'no attribute "nothing"' in second


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"backend": {"type": "memory"}}, "backend.type is memory; workers need redis"),
        ({"backend": {"redis_url": "redis+cluster://127.0.0.1:1"}}, "names a Redis Cluster"),
        ({"executor": "process_pool"}, "no listener is cpu_bound"),
    ],
)
@pytest.mark.parametrize("command", ["worker", "up"])
def test_what_can_have_no_workers(
    tmp_path: Path, command: str, sections: dict[str, dict[str, str]], said: str
) -> None:
    """Refused with the reason."""
    path = write_sums(tmp_path, NOWHERE, "x:")
    organism = yaml.safe_load(path.read_text())
    for name, settings in sections.items():
        both = isinstance(settings, dict)
        organism[name] = {**organism.get(name, {}), **settings} if both else settings
    path.write_text(yaml.safe_dump(organism))
    done = pump(tmp_path, command, "organism.yaml", REDIS_URL=NOWHERE)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["tasks.py", "pipeline.py", "backends/__init__.py", "celeryconfig.py"]
)
@pytest.mark.parametrize("place", ["beside the file", "in the current folder"])
@pytest.mark.parametrize("command", ["worker", "check"])
def test_a_module_that_hides_ours(tmp_path: Path, name: str, place: str, command: str) -> None:
    """One line that names both files, and exit 2, wherever it would do harm."""
    folder = tmp_path / "organism"
    path = write_sums(folder, NOWHERE, "x:")
    theirs = (folder if place == "beside the file" else tmp_path) / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("raise RuntimeError('imported')")
    done = pump(tmp_path, command, str(path))
    if command == "check" and place == "in the current folder":
        assert done.returncode == 0, "nothing is imported from there"
        return
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(theirs) in line
    assert str(ours(Path(name).parts[0].removesuffix(".py"))) in line


@pytest.mark.parametrize("name", ["pipeline.py", "backends.py", "celeryconfig.py"])
def test_celerys_own_command_says_the_same(tmp_path: Path, name: str) -> None:
    """It looks into the current folder first."""
    path = write_sums(tmp_path / "organism", NOWHERE, "x:")
    (tmp_path / name).write_text("raise RuntimeError('imported')")
    done = subprocess.run(
        CELERY,
        cwd=tmp_path,
        env=environment(ORGANISM=str(path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert str(tmp_path / name) in done.stderr
    assert str(ours(name.removesuffix(".py"))) in done.stderr
