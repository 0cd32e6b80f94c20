"""Kind of a class as far as the text of its file tells it, so that a file of the wrong kind never runs."""

from __future__ import annotations

import ast
import builtins
import importlib
from pathlib import Path

READABLE = ("spectron", "torch")  # packages whose classes may be imported to see what they are


def wrong_by_syntax(file: Path, name: str, wanted: list[type]) -> str | None:
    """Return why a file can have no class of this name and of a wanted kind; None if only running it can tell.

    A file with ``import *``, a module's ``__getattr__`` or a syntax error tells nothing.
    """
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    nodes = list(ast.walk(tree))
    bound = [(known, node) for node in nodes for known in _bound(node)]
    if any(known in ("*", "__getattr__") for known, _ in bound):
        return None
    makers = [node for known, node in bound if known == name]
    if not makers:
        return f"{file} has no class `{name}`"
    if len(makers) > 1 or not isinstance(makers[0], ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    if not isinstance(makers[0], ast.ClassDef):
        return None if makers[0].decorator_list else f"`{name}` of {file} is a function, not a class"
    found = _bases(makers[0], {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}, _imports(tree))
    if found is None or any(issubclass(base, kind) for base in found for kind in wanted):
        return None
    derived = ", ".join(base.__name__ for base in found) or "no other class"
    return f"`{name}` of {file} derives from {derived}"


def _bound(node: ast.AST) -> list[str]:
    """Return the names that a syntax node gives a value; ``*`` for all those of a module."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    return [(node.asname or node.name).partition(".")[0]] if isinstance(node, ast.alias) else []


def _imports(tree: ast.Module) -> dict[str, str]:
    """Return the dotted path of each name that the file imports at its top."""
    paths: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            paths |= {
                a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            paths |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return paths


def _bases(cls: ast.ClassDef, local: dict[str, ast.ClassDef], imports: dict[str, str]) -> list[type] | None:
    """Return the known classes that a class derives from, through classes of its file; None if one is not known."""
    if cls.decorator_list or cls.keywords:
        return None
    found: list[type] = []
    for base in cls.bases:
        text = ast.unparse(base)
        if text in local and local[text] is not cls:
            inner = _bases(local[text], local, imports)
        else:
            known = _class_of(text, imports)
            inner = None if known is None else [known]
        if inner is None:
            return None
        found += inner
    return found


def _class_of(text: str, imports: dict[str, str]) -> type | None:
    """Return the class of a name in a file, if it belongs to a package that may be imported or to Python itself."""
    first, _, rest = text.partition(".")
    if first not in imports:
        known = None if rest else getattr(builtins, first, None)
        return known if isinstance(known, type) else None
    module, _, name = ".".join(filter(None, (imports[first], rest))).rpartition(".")
    if module.partition(".")[0] not in READABLE:
        return None
    try:
        known = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return known if isinstance(known, type) else None
