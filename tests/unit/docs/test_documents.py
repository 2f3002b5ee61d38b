"""The reader of documents notices where they differ from what happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT, Block, Reader, blocks_of

FIRST = "0f9ba1e9-0c4c-4d3a-9b7c-0c3a8f0f2b11"
SECOND = "3a1c2b44-5d0e-4f6a-8b1d-2c9e7f001122"


def console(text: str, mark: str = "") -> Block:
    return Block("a page", 1, "console", text, mark)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    home = tmp_path / "home"
    home.mkdir()
    reader = Reader(home, programs=tmp_path, ours={"6379": "1234"})
    yield reader
    reader.leave()


@pytest.mark.parametrize(
    "text",
    [
        "$ echo one; echo two\none\ntwo\n",
        "$ echo one; echo two; echo three\n…\nthree\n",
        "$ echo one; echo two\none\n…\n",
        "$ echo took 17.25 ms at 01:02:03\ntook 0.1 ms at 23:59:59\n",
        "$ echo 'pump      17  127.0.0.1:80, private'\npump     4711  127.0.0.1:33117, private\n",
        "$ echo on host-9:17\non web1:5287\n",
        "$ echo port 1234\nport 6379\n",
        "$ echo this and \\\n    that\nthis and that\n",
        f"$ echo {FIRST} {SECOND} {FIRST}\n{SECOND} {FIRST} {SECOND}\n",
    ],
)
def test_what_varies_may_differ(reader: Reader, text: str) -> None:
    """Times, durations, processes, ports, ids, and what a dot stands for."""
    reader.follow([console(text)])


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("$ echo one\ntwo\n", ""),
        ("$ echo one; echo two\none\n", ""),
        ("$ echo one\none\ntwo\n", ""),
        ('$ echo \'{"words":4}\'\n{"words":3}\n', ""),
        ("$ false\n", ""),
        ("$ true\n", "fails"),
        (f"$ echo {FIRST} {SECOND}\n{FIRST} {FIRST}\n", ""),
        (f"$ echo {FIRST}\n{SECOND}\n$ echo {FIRST} {FIRST}\n{SECOND} {FIRST}\n", ""),
    ],
)
def test_a_lie_is_noticed(reader: Reader, text: str, mark: str) -> None:
    """Another word, a line too many or too few, a failure, another id where it was the same."""
    with pytest.raises(AssertionError, match="a page:1"):
        reader.follow([console(text, mark)])


def test_it_is_one_shell(reader: Reader) -> None:
    """Folder and variables stay; an id that was shown can be typed; files are where it is."""
    reader.follow(
        [
            console(f"$ mkdir inner\n$ cd inner\n$ export IT={FIRST}\n$ echo $IT\n{SECOND}\n"),
            Block("a page", 2, "python", "# main.py\nprint('written')\n"),
            console("$ python main.py\nwritten\n"),
            console(f"$ echo {SECOND}\n{SECOND}\n"),
        ]
    )
    assert (reader.folder / "inner" / "main.py").exists()


def test_an_id_is_typed_as_it_was_shown(reader: Reader) -> None:
    """Though digits of it are a port's in the document."""
    here = FIRST.replace("0f9ba1e9", "0f6379e9")
    reader.follow([console(f"$ echo {here[:4]}''{here[4:]} > shown; cat shown\n{SECOND}\n")])
    reader.follow([console(f"$ grep -c {SECOND} shown\n1\n")])


def test_what_stays_goes_on_until_the_end(reader: Reader) -> None:
    """Its first lines are enough; in the end it is interrupted as by Ctrl-C."""
    goes_on = "trap 'echo bye > bye; exit' INT; echo one; echo two; while :; do sleep 0.1; done"
    for shown in ("one\n", "…\ntwo\n…\none\n"):
        reader.follow([console(f"$ {goes_on}\n{shown}", "stays"), console("$ ls\n")])
    reader.leave()
    assert (reader.folder / "bye").exists()


def test_blocks_are_found_with_their_marks(tmp_path: Path) -> None:
    """In our own documents."""
    found = blocks_of(ROOT / "docs" / "start.md")
    assert found[0].mark.startswith("not run: ")
    assert found[0].commands[1][0] == "pip install 'PATH-TO-THIS-REPOSITORY[embedded]'"
    assert [block.file for block in found if block.file] == ["largest.py", "organism.yaml"]
    assert {block.mark for block in found[1:]} == {"", "stays"}
