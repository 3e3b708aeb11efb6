"""One module with everything that it uses of this package written into it, so that it stands alone.

The definitions are copied as they are: what leaves with a model is the code that trained it, not a second version.
Names that appear in annotations alone are left out; nothing evaluates them.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = "reluformer"
Qualified = tuple[str, str]
"""A module and a name in it."""


class FlattenError(ValueError):
    """The module uses the package in a way that cannot be written into one file."""


class Module:
    """A module's source: where its names come from and what defines them."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.lines = source.splitlines()
        self.body = ast.parse(source).body
        self.imported: dict[str, Qualified | str] = {}  # of this package, or the import statement of another
        self.defined: dict[str, ast.stmt] = {}
        for node in self.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node)
            else:
                self.defined |= dict.fromkeys(names_bound_by(node), node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            local = alias.asname or alias.name
            if isinstance(node, ast.Import):
                self.imported[local.partition(".")[0]] = ast.unparse(ast.Import([alias]))
            elif (node.module or "").partition(".")[0] == PACKAGE:
                self.imported[local] = (str(node.module), alias.name)
                if alias.asname:
                    raise FlattenError(f"{self.name}: {alias.name} is imported as {alias.asname}")
            else:
                self.imported[local] = ast.unparse(ast.ImportFrom(node.module, [alias], 0))

    def source_of(self, node: ast.stmt) -> str:
        """A statement as it is written, decorators included, without its imports of this package."""
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        lines = self.lines[first - 1 : node.end_lineno]
        for inner in own_imports(node):
            for at in range(inner.lineno - first, (inner.end_lineno or inner.lineno) - first + 1):
                lines[at] = ""
            lines[inner.lineno - first] = " " * inner.col_offset + "pass"
        return "\n".join(lines)


@cache
def read_module(name: str) -> Module:
    """A module of this package, read and not run."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise FlattenError(f"there is no module {name}")
    return Module(name, Path(spec.origin).read_text(encoding="utf-8"))


def flatten(name: str, replaced: Mapping[Qualified, str] | None = None) -> str:
    """The source of the module `name` with all it uses of this package in it.

    replaced: for a definition of the package, source that takes its place; it may import from the package as well.
    Raises `FlattenError` where two definitions have the same name, or a module itself is imported.
    """
    flattening = _Flattening(replaced or {})
    root = read_module(name)
    for node in root.body[1:]:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            flattening.follow(root, node)
            flattening.write(root, node)
    docstring = root.source_of(root.body[0])
    head = [docstring, "from __future__ import annotations", "\n".join(grouped(flattening.imports))]
    return "\n\n".join(head) + "\n\n\n" + "\n\n\n".join(flattening.written) + "\n"


def grouped(imports: set[str]) -> list[str]:
    """Import statements, those of one module as one line."""
    modules: dict[str, list[str]] = {}
    for line in sorted(imports, key=lambda line: (line.startswith("from"), line)):
        module, _, name = line.partition(" import ") if line.startswith("from") else (line, "", "")
        modules.setdefault(module, []).append(name)
    return [f"{module} import {', '.join(names)}" if names[0] else module for module, names in modules.items()]


class _Flattening:
    def __init__(self, replaced: Mapping[Qualified, str]) -> None:
        self.replaced = replaced
        self.imports: set[str] = set()
        self.written: list[str] = []
        self.taken: dict[str, str] = {}  # name -> the module that it comes from
        self.seen: set[tuple[str, int]] = set()

    def need(self, module: Module, name: str) -> None:
        """Writes what `name` stands for in `module`, after all that it needs itself."""
        origin = module.imported.get(name)
        if isinstance(origin, str):
            if origin != "from __future__ import annotations":
                self.imports.add(origin)
        elif origin is not None:
            if origin in self.replaced:
                self.replace(origin)
                return
            there = read_module(origin[0])
            if origin[1] not in there.imported and origin[1] not in there.defined:
                raise FlattenError(f"{module.name}: the module {'.'.join(origin)} is imported as a whole")
            self.need(there, origin[1])
        elif name in module.defined:
            if (module.name, name) in self.replaced:
                self.replace((module.name, name))
                return
            node = module.defined[name]
            if (module.name, node.lineno) not in self.seen:
                self.seen.add((module.name, node.lineno))
                self.follow(module, node)
                self.write(module, node)

    def replace(self, origin: Qualified) -> None:
        """Writes the source that takes the place of a definition."""
        if (".".join(origin), 0) not in self.seen:
            self.seen.add((".".join(origin), 0))
            module = Module(origin[0], self.replaced[origin])
            for node in module.body:
                if not isinstance(node, ast.Import | ast.ImportFrom):
                    self.follow(module, node)
                    self.write(module, node)

    def follow(self, module: Module, node: ast.stmt) -> None:
        """Writes everything that a statement uses."""
        inner = Module(module.name, "")
        for statement in own_imports(node):
            inner._import(statement)
        for name in names_used_by(node):
            self.need(inner if name in inner.imported else module, name)

    def write(self, module: Module, node: ast.stmt) -> None:
        """Writes one statement."""
        for name in names_bound_by(node):
            if self.taken.setdefault(name, module.name) != module.name:
                raise FlattenError(f"{name} is both in {self.taken[name]} and in {module.name}")
        self.written.append(module.source_of(node))


def own_imports(node: ast.AST) -> list[ast.ImportFrom]:
    """The imports of this package inside a statement."""
    inside = (inner for inner in ast.walk(node) if isinstance(inner, ast.ImportFrom))
    return [inner for inner in inside if (inner.module or "").partition(".")[0] == PACKAGE]


def names_bound_by(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)]


def names_used_by(node: ast.AST) -> Iterator[str]:
    """The names that a statement reads when it runs or is called; annotations are never evaluated."""
    if isinstance(node, ast.Name):
        yield node.id
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from names_used_by(child)
