"""Our packages have common names; a user's module of the same name may hide one of them."""

from importlib.util import find_spec
from pathlib import Path


class HiddenModuleError(ImportError):
    """One of our modules would not be the one that is imported; the text names both files."""


def check_siblings() -> None:
    """Refuse to go on with somebody else's module in place of ours.

    Imports nothing of ours, for that would already be too late.

    Raises:
        HiddenModuleError: a module on `sys.path` hides one of ours.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ("backends", "pipeline", "celeryconfig"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        ours = [home / f"{name}.py", home / name / "__init__.py"]
        if found not in ours:
            (mine,) = (path for path in ours if path.is_file())
            raise HiddenModuleError(
                f"module {name!r} is {found or 'a folder without __init__.py'}, which hides"
                f" celery-pump's own {mine}; rename yours"
            )
