"""Classes of a ``.py`` file that belongs to no package: ``path/to/my_encoder.py:MyEncoder`` instead of a dotted path.

Loading a class runs the code of its file. ``code_outside_packages`` finds that file without running it.

A file is loaded once, under a module name made from its whole path. The file hides no installed module and no installed
module hides it, and two files of one name in two folders are two modules. Users read the path of the file, never the
module name, and the path is stored with a run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import re
import sys
import traceback
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from spectron.config.nested import walk
from spectron.errors import ConfigError, nearest
from spectron.files import is_file

REFERENCE = re.compile(r"(?P<file>[^\n]*\.py):(?P<name>[A-Za-z_]\w*)")

MOVED = (
    "A path is relative to the YAML that contains it. If the file has moved, override this key on the command line: "
    "KEY=PATH/FILE.py:Class."
)

log = logging.getLogger(__name__)

_modules: dict[Path, ModuleType] = {}
_import_folders: set[str] = set()  # folders on sys.path that hold no installed packages
_announced: set[Path] = set()


class NoSuchClass(ConfigError):
    """The name of a class is wrong; the code that knows the allowed classes adds the nearest name."""


def is_reference(value: Any) -> bool:
    """Return whether a value has the form ``file.py:Class``."""
    return isinstance(value, str) and REFERENCE.fullmatch(value) is not None


def absolute(value: str, folder: Path) -> str:
    """Return a reference with the absolute path of its file, which is relative to ``folder``.

    Any other text, and a file that an interpolation will name, is returned unchanged.
    """
    found = REFERENCE.fullmatch(value)
    if found is None or value.startswith("${"):
        return value
    return f"{(folder / Path(found['file']).expanduser()).resolve()}:{found['name']}"


def same_class(one: str, other: str) -> bool:
    """Return whether two references name a class of one name in files of one name: the same class in another folder."""
    first, second = REFERENCE.fullmatch(one), REFERENCE.fullmatch(other)
    if first is None or second is None:
        return one == other
    return (Path(first["file"]).name, first["name"]) == (Path(second["file"]).name, second["name"])


def add_import_folders(folders: Iterable[Path]) -> None:
    """Let classes be imported from these folders, after everything installed so that nothing is shadowed."""
    for folder in map(str, folders):
        _import_folders.add(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def code_outside_packages(class_path: str, folders: Iterable[Path] = ()) -> Path | None:
    """Return the file whose code a class path would run, without running it.

    Args:
        class_path: A dotted path, or ``file.py:Class``.
        folders: Folders in which a module is looked for after the folders that classes are imported from.

    Returns:
        The file; None if the class belongs to an installed package, or if there is no such module.
    """
    if found := REFERENCE.fullmatch(class_path):
        return Path(found["file"]).expanduser().resolve()
    name = class_path.partition(".")[0]
    if not name.isidentifier():
        return None
    own = {str(Path.cwd()), *_import_folders, *map(str, folders)}
    installed = [entry for entry in sys.path if entry and entry not in own]  # an empty entry is the current folder
    # Finders of packages that are installed in editable form; a finder may also look into folders of sys.path.
    found_by = [finder.find_spec(name, None) for finder in sys.meta_path if finder is not PathFinder]
    if any(spec is not None and str(_file_of(spec).parent) not in own for spec in found_by):
        return None
    if PathFinder.find_spec(name, installed):
        return None
    spec = PathFinder.find_spec(name, sorted(own))
    return None if spec is None else _file_of(spec)


def announce(path: Path) -> None:
    """Report, once, that the code of a user's own file runs."""
    if path not in _announced:
        _announced.add(path)
        log.warning("Running the code of %s", path)


def load_class(reference: str) -> type:
    """Return the class that a reference names.

    Raises:
        NoSuchClass: if the file has no such class.
        ConfigError: if there is no such file, or the file cannot be imported.
    """
    found = REFERENCE.fullmatch(reference)
    if found is None:
        raise ConfigError(f"`{reference}` does not have the form file.py:Class.")
    path = Path(found["file"]).expanduser().resolve()
    cls = getattr(_load(path), found["name"], None)
    if not isinstance(cls, type):
        raise NoSuchClass(f"{path} has no class `{found['name']}`", file=path)
    return cls


def reference_of(cls: type) -> str | None:
    """Return the reference of a class from a loaded file; None for a class of any other module."""
    path = next((path for path, module in _modules.items() if module.__name__ == cls.__module__), None)
    return None if path is None else f"{path}:{cls.__name__}"


def code_files(tree: Any) -> dict[str, Path]:
    """Return the files that references in nested values name, each once, by a file name that is unique among them."""
    named: dict[str, Path] = {}
    references = [value for _, value in walk(tree) if is_reference(value)]
    for path in dict.fromkeys(Path(reference.rpartition(":")[0]) for reference in references):
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:6]
        named[path.name if path.name not in named else f"{digest}-{path.name}"] = path
    return named


def line_of(error: BaseException, path: Path) -> str:
    """Return ``line 12: ``, the last line of a file that an error came through; empty if it did not."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno}: "
    lines = [entry.lineno for entry in traceback.extract_tb(error.__traceback__) if entry.filename == str(path)]
    return f"line {lines[-1]}: " if lines else ""


def file_and_line(error: BaseException, cls: type) -> str:
    """Return ``my_encoder.py, line 12: ``, where an error left the file of a class; empty if it came from elsewhere."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    line = line_of(error, Path(file)) if file else ""
    return f"{Path(file).name}, {line}" if file and line else ""


def _load(path: Path) -> ModuleType:
    """Return the module of a file, imported unless that is done."""
    if path in _modules:
        return _modules[path]
    if not is_file(path):
        raise ConfigError(f"there is no file {path}. {_nearest_file(path)}", file=path)
    name = f"{re.sub(r'[^a-zA-Z0-9_]', '_', path.stem)}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, because dataclasses and pickles look up the module of a class by name.
    sys.modules[name] = module
    add_import_folders([path.parent])  # for imports from the same folder
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises while it is imported
        del sys.modules[name]
        raise ConfigError(
            f"{path} cannot be imported: {line_of(error, path)}{type(error).__name__}: {error}.", file=path
        ) from error
    _modules[path] = module
    return module


def _file_of(spec: ModuleSpec) -> Path:
    """Return the file of a module, or the folder of a package."""
    return Path(next(iter(spec.submodule_search_locations or [spec.origin or spec.name])))


def _nearest_file(path: Path) -> str:
    """Return what to do about a missing file."""
    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either. {MOVED}"
    near = nearest(path.name, (file.name for file in path.parent.glob("*.py")))
    return f"Did you mean `{path.parent / near}`?" if near else MOVED
