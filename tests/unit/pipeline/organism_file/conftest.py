"""A folder with a handlers module and an organism's file in it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.pipeline.organism_file.writing import HANDLERS, NUMBERS, Write


@pytest.fixture(autouse=True)
def _imports_are_undone() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def module(tmp_path: Path) -> str:
    """A handlers module beside the file, of a name no other test uses."""
    name = f"organism_handlers_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(HANDLERS)
    return name


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("organism.yaml")


@pytest.fixture
def write(file: Path, module: str) -> Write:
    """Write a file; `%` stands for the module of the handlers."""

    def write(text: str) -> Path:
        file.write_text(text.replace("%", module))
        return file

    return write
