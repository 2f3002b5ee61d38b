"""The README's own organism is as short as it says; `test_site.py` runs it."""

from tests.documents import ROOT, blocks_of


def test_it_fits_in_thirty_lines() -> None:
    """Blank ones aside."""
    files = [block for block in blocks_of(ROOT / "README.md") if block.file][:2]
    assert [block.file for block in files] == ["handlers.py", "organism.yaml"]
    lines = "".join(block.text for block in files).splitlines()
    assert len([line for line in lines if line.strip()]) <= 30
