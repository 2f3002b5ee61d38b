"""Which files an audit reads."""

import os
import sysconfig
from pathlib import Path

from audit.payloads import Tree

_LEFT_OUT = {"site-packages", "dist-packages", "__pycache__"}


def root_of(tree: Tree) -> Path:
    """The folder to audit; by default this interpreter's standard library."""
    return Path(tree.root or sysconfig.get_path("stdlib"))


def listing_of(tree: Tree) -> Tree:
    """The same tree with its folder and its files spelt out."""
    root = root_of(tree)
    return Tree(str(root), modules_of(root))


def modules_of(root: Path) -> list[str]:
    """Every Python file below *root*, relative to it, sorted; links to folders are not followed."""
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        found += [
            Path(folder, name).relative_to(root).as_posix()
            for name in files
            if name.endswith(".py")
        ]
    return sorted(found)
