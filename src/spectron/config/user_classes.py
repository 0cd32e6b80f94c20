"""Classes of a ``.py`` file that belongs to no package: ``path/to/my_encoder.py:MyEncoder`` in the place of a dotted path.

A file is loaded once, under a module name made of its whole path: it hides no installed module and none hides it, and two files of
one name in two folders are two modules. That name is for Python alone: what users read and what is stored with a run names the file.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from spectron.errors import ConfigError

REFERENCE = re.compile(r"(?P<file>[^\n]*\.py):(?P<name>[A-Za-z_]\w*)")

MOVED = "A path is relative to the YAML that says it; if the file has moved, override this key on the command line: KEY=PATH/FILE.py:Class."

_modules: dict[Path, ModuleType] = {}


def is_reference(value: Any) -> bool:
    """Whether a value has the form ``file.py:Class``."""
    return isinstance(value, str) and REFERENCE.fullmatch(value) is not None


def absolute(value: str, folder: Path) -> str:
    """A reference with its file seen from ``folder``; any other text, and a file that an interpolation will name, as it is."""
    found = REFERENCE.fullmatch(value)
    if found is None or value.startswith("${"):
        return value
    return f"{(folder / Path(found['file']).expanduser()).resolve()}:{found['name']}"


def same_class(one: str, other: str) -> bool:
    """Whether two references name a class of one name in files of one name: the same class in another folder."""
    first, second = REFERENCE.fullmatch(one), REFERENCE.fullmatch(other)
    if first is None or second is None:
        return one == other
    return (Path(first["file"]).name, first["name"]) == (Path(second["file"]).name, second["name"])


def load_class(reference: str) -> type:
    """The class that a reference names.

    Raises:
        ConfigError: if there is no such file or class, or the file cannot be imported; in whole sentences where it holds the cure.
    """
    found = REFERENCE.fullmatch(reference)
    if found is None:
        raise ConfigError(f"`{reference}` is not of the form file.py:Class")
    path = Path(found["file"]).expanduser().resolve()
    cls = getattr(_load(path), found["name"], None)
    if not isinstance(cls, type):
        raise ConfigError(f"{path} has no class `{found['name']}`")
    return cls


def reference_of(cls: type) -> str | None:
    """How a class of a loaded file is named in a YAML; None for a class of any other module."""
    path = next((path for path, module in _modules.items() if module.__name__ == cls.__module__), None)
    return None if path is None else f"{path}:{cls.__name__}"


def to_dotted(tree: Any) -> Any:
    """A copy of nested values in which the references to loaded files are the dotted paths that Python knows."""
    return _replaced(tree, lambda text: _dotted(text) or text)


def to_references(tree: Any) -> Any:
    """The way back from ``to_dotted``."""
    names = {module.__name__: path for path, module in _modules.items()}

    def back(text: str) -> str:
        module, _, name = text.rpartition(".")
        return f"{names[module]}:{name}" if module in names else text

    return _replaced(tree, back)


def files_in(tree: Any) -> list[Path]:
    """The files that nested values refer to, in order, each once."""
    return list(dict.fromkeys(Path(text.rpartition(":")[0]) for text in _texts(tree) if is_reference(text)))


def code_files(tree: Any) -> dict[str, Path]:
    """The files that nested values refer to, each under a name of its own among them."""
    named: dict[str, Path] = {}
    for path in files_in(tree):
        name = (
            path.name if path.name not in named else f"{hashlib.sha256(str(path).encode()).hexdigest()[:6]}-{path.name}"
        )
        named[name] = path
    return named


def _dotted(text: str) -> str | None:
    found = REFERENCE.fullmatch(text)
    module = _modules.get(Path(found["file"])) if found else None
    return f"{module.__name__}.{found['name']}" if found and module else None


def _load(path: Path) -> ModuleType:
    """The module of a file, imported where it has not been."""
    if path in _modules:
        return _modules[path]
    if not path.is_file():
        raise ConfigError(f"there is no file {path}. {_nearest_file(path)}")
    name = f"{re.sub(r'[^a-zA-Z0-9_]', '_', path.stem)}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Known before it runs, as dataclasses and pickles ask for a class' module by name.
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for what it imports from beside itself, behind everything installed
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises while it is imported
        del sys.modules[name]
        raise ConfigError(
            f"{path} cannot be imported: {line_of(error, path)}{type(error).__name__}: {error}."
        ) from error
    _modules[path] = module
    return module


def line_of(error: BaseException, path: Path) -> str:
    """``line 12: ``, the last line of a file that an error came through; empty where it did not."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno}: "
    line, frame = 0, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == str(path):
            line = frame.tb_lineno
        frame = frame.tb_next
    return f"line {line}: " if line else ""


def _nearest_file(path: Path) -> str:
    """The cure for a missing file, in whole sentences."""
    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either. {MOVED}"
    names = sorted(file.name for file in path.parent.glob("*.py"))
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean `{path.parent / close[0]}`?" if close else MOVED


def _replaced(tree: Any, change: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _replaced(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_replaced(value, change) for value in tree]
    return change(tree) if isinstance(tree, str) else tree


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _texts(value)
    elif isinstance(tree, str):
        yield tree
