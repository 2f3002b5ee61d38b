"""What the site is made of besides the pages in docs/: three files of the repository, a full menu.

MkDocs calls these functions by their names.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
#: Pages that stand elsewhere, with the links to them that other pages may use.
ELSEWHERE = {"deployment.md": "deploy/README.md", "changes.md": "CHANGELOG.md"}
#: Where pages go that no entry of `nav` names: by the folder they are in.
OTHERS = {"": "Operate", "runbook": "Runbook"}
#: Where a page lists those of the runbook.
_RUNBOOK = "<!-- runbook -->"
_HOME = "index.md"
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the menu: a new page is found without an entry for it."""
    docs = Path(config.docs_dir)
    named = set(_paths(config.nav))
    pages = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    for page in sorted(set(pages) - named, key=lambda page: (not page.endswith(_HOME), page)):
        folder = page.rpartition("/")[0]
        _section(config.nav, OTHERS.get(folder, folder.title())).append(page)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand elsewhere."""
    for page, source in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let links between files of the repository lead to the same thing in the site."""
    if _RUNBOOK in markdown:
        markdown = markdown.replace(_RUNBOOK, _runbook())
    place = ROOT / ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {(ROOT / source).resolve(): page_ for page_, source in ELSEWHERE.items()}

    def moved(link: re.Match[str]) -> str:
        target = (place.parent / link[1]).resolve()
        if target in pages:
            uri = pages[target]
        elif target == ROOT / "docs" / "runbook":
            uri = "operations.md#runbook"
        elif target.is_relative_to(ROOT / "docs"):
            uri = target.relative_to(ROOT / "docs").as_posix()
        else:
            return link[0]
        return f"]({'../' * page.file.src_uri.count('/')}{uri}"

    return _LINK.sub(moved, markdown)


def _runbook() -> str:
    """A section with a link to each page of the runbook; nothing where there is none."""
    pages = sorted((ROOT / "docs" / "runbook").glob("*.md"))
    titles = [page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for page in pages]
    links = [
        f"* [{title}](runbook/{page.name})\n" for title, page in zip(titles, pages, strict=True)
    ]
    return "".join(["## Runbook\n\nA page for each alert:\n\n", *links]) if links else ""


def _paths(nav: Any) -> list[str]:
    """Every page that *nav* names, at any depth."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [path for entry in entries for path in _paths(entry)]


def _section(nav: Any, title: str) -> list[Any]:
    """The entries below *title*; a new one stands behind the first of the operator's."""
    titles = [next(iter(entry)) for entry in nav]
    if title not in titles:
        nav.insert(titles.index(OTHERS[""]) + 1, {title: []})
        return _section(nav, title)
    entries: list[Any] = nav[titles.index(title)][title]
    return entries
