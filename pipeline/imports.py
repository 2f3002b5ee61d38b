"""Import paths of an organism: found in the file's own folder first, or a clear reason why not."""

import functools
import importlib
import sys
import traceback
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.settings import near, quoted

#: What this package puts beside a user's own modules; names anybody might choose.
OUR_NAMES = ("backends", "celeryconfig", "pipeline", "tasks")
_HOME = Path(__file__).resolve().parent.parent


class ImportPathError(Exception):
    """An import path leads nowhere; the text says why, on one line."""


class Importer:
    """Resolves import paths, each module once, even one that fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules: dict[str, ModuleType | ImportPathError] = {}
        _put_first(str(folder))
        # A module written a moment ago may be missing from the finders' listings.
        importlib.invalidate_caches()

    def resolve(self, path: str) -> Any:
        """What `package.module.name` or `package.module:name` refers to.

        Raises:
            ImportPathError: the module or the name is missing, or the module raised.
        """
        module_name, colon, attribute = path.partition(":")
        if not colon:
            module_name, _, attribute = path.rpartition(".")
        if not all(part.isidentifier() for part in f"{module_name}.{attribute}".split(".")):
            example = '"package.module.name" or "package.module:name"'
            raise ImportPathError(f"expected an import path, {example}, got {quoted(path)}")
        module = self.module(module_name)
        try:
            return functools.reduce(getattr, attribute.split("."), module)
        except AttributeError:
            hint = near(attribute, (name for name in vars(module) if not name.startswith("__")))
            text = f"module {quoted(module_name)} has no attribute {quoted(attribute)}{hint}"
            raise ImportPathError(text) from None

    def module(self, name: str) -> ModuleType:
        """The module *name*, imported.

        Raises:
            ImportPathError: it is missing, raised, or another one has its name.
        """
        if name not in self._modules:
            self._modules[name] = self._import(name)
        found = self._modules[name]
        if isinstance(found, ImportPathError):
            raise ImportPathError(*found.args)
        return found

    def _import(self, name: str) -> ModuleType | ImportPathError:
        stale = self._stale(name.partition(".")[0])
        if stale:
            return ImportPathError(stale)
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as exc:
            if exc.name and f"{name}.".startswith(f"{exc.name}."):
                return ImportPathError(
                    f"no module {quoted(exc.name)} in this folder or on sys.path"
                )
            return ImportPathError(_raised(name, exc))
        except (Exception, SystemExit) as exc:  # noqa: BLE001  the module's code is the user's
            return ImportPathError(_raised(name, exc))

    def _stale(self, package: str) -> str | None:
        """Why the loaded module *package* is not the one in the folder, or None."""
        here = [self._folder / f"{package}.py", self._folder / package / "__init__.py"]
        loaded = sys.modules.get(package)
        if loaded is None or not any(path.is_file() for path in here):
            return None
        origin = getattr(loaded, "__file__", None)
        if origin and Path(origin).resolve() in {path.resolve() for path in here}:
            return None
        where = origin or "the interpreter itself"
        return f"module {quoted(package)} is already loaded from {where}; rename the one here"


def _put_first(folder: str) -> None:
    """Keep *folder* at the head of `sys.path`: handlers import lazily, children inherit it."""
    if sys.path[:1] != [folder]:
        sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]


def _raised(name: str, exc: BaseException) -> str:
    """What went wrong while *name* was imported, with the line it happened on."""
    what = " ".join(f"{type(exc).__name__}: {exc}".split())
    frames = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename != __file__
    ]
    own = [frame for frame in frames if "importlib" not in Path(frame.filename).parts]
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"module {quoted(name)} raised while importing: {what}{where}"


def hidden_modules(folders: Iterable[Path]) -> list[str]:
    """Each module in *folders* that shares a name with one of ours, as a problem.

    One of the two hides the other, in this process or in one that it starts.
    """
    importlib.invalidate_caches()
    found = (_hidden(name, folder) for folder in dict.fromkeys(folders) for name in OUR_NAMES)
    return [problem for problem in found if problem]


def _hidden(name: str, folder: Path) -> str | None:
    spec = PathFinder.find_spec(name, [str(folder)])
    # A folder without __init__.py has no origin, and hides nothing.
    theirs = Path(spec.origin).resolve() if spec is not None and spec.origin else None
    ours = _HOME / name / "__init__.py" if (_HOME / name).is_dir() else _HOME / f"{name}.py"
    if theirs in (None, ours):
        return None
    return f"{theirs} hides celery-pump's own {ours}, or is hidden by it; rename yours"
