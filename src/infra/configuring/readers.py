"""Which modules read which key, found in the package's own source: what `rag config explain` says cannot fall behind the code.

The types of expressions are followed as far as keys travel: annotated parameters and attributes, assignments, what functions
and properties return. A test holds the outcome against mypy's types.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel

from ...retrieval.config import IntentCfg
from ..config import Settings
from .schema import INTENT_PREFIX, FieldSpec

Types = frozenset[str]
"""Names of the classes that an expression may be of."""
NOTHING: Types = frozenset()

# Read while the configuration is being put together, where a key is not yet an attribute.
READ_BY_NAME: Mapping[str, str] = MappingProxyType({"network.trust_env": "infra.configuring.foreign", "environment.cloud_profile": "infra.configuring.sources"})
# What a module mentions that has to do with settings; the others, two thirds, are not parsed.
_CARRIES = re.compile("cfg|settings|resources", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reader:
    """A module that reads a key."""

    module: str
    """Its name, such as ``src.infra.clients``."""
    about: str
    """The first line of its documentation."""


def readers_of(spec: FieldSpec) -> tuple[Reader, ...]:
    """The modules that read a key, by name; empty where the package's source is not there."""
    section = INTENT_PREFIX if spec.section.startswith(INTENT_PREFIX) else spec.section
    return scan(Path(__file__).resolve().parents[2]).get(f"{section}.{spec.key}", ())


@cache
def scan(package: Path) -> Mapping[str, tuple[Reader, ...]]:
    """``section.key`` to its readers, over all modules of the package (0.7 s on 290 files)."""
    texts = {_module(path, package): path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {module: ast.parse(text) for module, text in texts.items() if _CARRIES.search(text)}
    known = _Known()
    for tree in trees.values():
        known.declare(tree)
    for _ in range(2):  # an attribute may be assigned from one that a later module assigns
        reads = {module: _Walk(known).run(tree) for module, tree in trees.items()}
    found: dict[str, set[str]] = defaultdict(set)
    for name, module in READ_BY_NAME.items():
        found[name].add(module)
    sections = _sections()
    for module, attributes in reads.items():
        if module not in shapes():
            for owner, attribute in attributes:
                for key in known.keys(owner, attribute):
                    found[f"{sections[owner]}.{key}"].add(module)
    return {name: tuple(Reader(f"{package.name}.{module}", _about(trees.get(module))) for module in sorted(modules)) for name, modules in found.items()}


def _module(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")


def _about(tree: ast.Module | None) -> str:
    return ((ast.get_docstring(tree) if tree else None) or "").partition("\n")[0]


@cache
def _models() -> Mapping[str, type[BaseModel]]:
    """The models of sections, by section; that of the intents by their prefix."""
    models = {name: info.annotation for name, info in Settings.model_fields.items()} | {INTENT_PREFIX: IntentCfg}
    return {name: model for name, model in models.items() if isinstance(model, type) and issubclass(model, BaseModel)}


@cache
def shapes() -> frozenset[str]:
    """The modules that hold the models: what a property there reads, its callers read."""
    return frozenset(model.__module__.partition(".")[2] for model in _models().values())


@cache
def _sections() -> Mapping[str, str]:
    """Section by the name of its model."""
    return {model.__name__: section for section, model in _models().items()}


@cache
def _fields() -> Mapping[str, frozenset[str]]:
    """Keys by the name of their model."""
    return {model.__name__: frozenset(model.model_fields) for model in _models().values()}


@dataclass(slots=True)
class _Known:
    """What is known of the classes and functions of the package, by name."""

    members: dict[str, dict[str, Types]] = field(default_factory=lambda: defaultdict(dict))
    bases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    returns: dict[str, Types] = field(default_factory=dict)
    derived: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    """Keys that the properties of a section's model read."""

    def declare(self, tree: ast.Module) -> None:
        """Take in the annotations of classes and functions, and names for types, which are like classes that inherit from all they name."""
        for alias in tree.body:
            if isinstance(alias, ast.Assign) and isinstance(alias.value, ast.Subscript | ast.BinOp):
                self.bases |= {target.id: tuple(named(alias.value)) for target in alias.targets if isinstance(target, ast.Name)}
        for node in _definitions(tree):
            if isinstance(node, ast.ClassDef):
                self.bases[node.name] = tuple(base.id for base in node.bases if isinstance(base, ast.Name))
                for statement in node.body:
                    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                        self.add(node.name, statement.target.id, named(statement.annotation))
                    elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                        own = frozenset((node.name,)) if "Self" in named(statement.returns) else NOTHING
                        self.add(node.name, statement.name, named(statement.returns) | own)
            else:
                self.returns[node.name] = self.returns.get(node.name, NOTHING) | named(node.returns)

    def add(self, owner: str, attribute: str, types: Types) -> None:
        self.members[owner][attribute] = self.members[owner].get(attribute, NOTHING) | types

    def of(self, owner: str, attribute: str) -> Types:
        """The types of an attribute, its own or inherited."""
        seen, waiting = set[str](), [owner]
        found = NOTHING
        while waiting:
            name = waiting.pop()
            if attribute in self.members.get(name, ()):
                found |= self.members[name][attribute]
            elif name not in seen:
                seen.add(name)
                waiting += self.bases.get(name, ())
        return found

    def keys(self, owner: str, attribute: str) -> Iterable[str]:
        """The keys that reading an attribute of a section's model reads."""
        return (attribute,) if attribute in _fields()[owner] else self.derived[owner].get(attribute, ())


def _definitions(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The classes and functions of a module, at any depth."""
    waiting: list[ast.stmt] = [*tree.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        waiting += getattr(node, "body", ())


def named(annotation: ast.expr | None) -> Types:
    """The names in an annotation, those within quotes too; what holds a class counts as the class."""
    if annotation is None:
        return NOTHING
    found: set[str] = set()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.add(node.value)
    return frozenset(found)


class _Walk(ast.NodeVisitor):
    """Walks a module in its order, knows the types of its names, and notes attributes of sections."""

    def __init__(self, known: _Known) -> None:
        self._known = known
        self._names: dict[str, Types] = {}
        self._class = ""
        self._function = ""
        self._reads: set[tuple[str, str]] = set()

    def run(self, tree: ast.Module) -> set[tuple[str, str]]:
        self.visit(tree)
        return self._reads

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._class = self._class, node.name
        self.generic_visit(node)
        self._class = outer

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        names, function = dict(self._names), self._function
        self._function = function or node.name
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self._names |= {argument.arg: named(argument.annotation) for argument in arguments}
        if self._class and not function and arguments[:1]:
            self._names[arguments[0].arg] = frozenset((self._class,))
        self.generic_visit(node)
        self._names, self._function = names, function

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - as above

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, ast.Subscript):  # `found[settings.chat.model] = …` reads
                self.visit(target)
            self._bind(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._set(node.target, named(node.annotation))
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind(node.target, node.value)
        self.generic_visit(node)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._bind(node.target, node.iter)
        self.generic_visit(node)

    visit_AsyncFor = visit_For  # noqa: N815 - as above

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars is not None:
            self._bind(node.optional_vars, node.context_expr)
        self.generic_visit(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp) -> None:
        for part in node.generators:
            self._bind(part.target, part.iter)
        self.generic_visit(node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp  # noqa: N815 - as above

    def visit_Attribute(self, node: ast.Attribute) -> None:
        for owner in self._types(node.value) & _fields().keys():
            self._reads.add((owner, node.attr))
            if owner == self._class:
                self._known.derived[owner][self._function].update(self._known.keys(owner, node.attr))
        self.generic_visit(node)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        """Give the targets of an assignment the types of its value; of two tuples, one by one."""
        if isinstance(target, ast.Tuple | ast.List):
            pairs = value.elts if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts) else [value] * len(target.elts)
            for part, item in zip(target.elts, pairs, strict=True):
                self._bind(part, item)
        else:
            self._set(target, self._types(value))

    def _set(self, target: ast.expr, types: Types) -> None:
        if isinstance(target, ast.Name):
            self._names[target.id] = types
        elif isinstance(target, ast.Attribute):
            for owner in self._types(target.value):
                self._known.add(owner, target.attr, types)

    def _types(self, node: ast.expr) -> Types:
        if isinstance(node, ast.Name):
            return self._names.get(node.id, NOTHING)
        if isinstance(node, ast.Attribute):
            return NOTHING.union(*(self._known.of(owner, node.attr) for owner in self._types(node.value)))
        if isinstance(node, ast.Call):
            return self._called(node)
        return NOTHING.union(*(self._types(part) for part in _parts(node)))

    def _called(self, node: ast.Call) -> Types:
        """What a call returns: an instance, what the function says, or a copy of its subject."""
        if isinstance(node.func, ast.Attribute):
            subject = self._types(node.func.value)
            return subject if node.func.attr == "model_copy" else self._types(node.func) | self._known.returns.get(node.func.attr, NOTHING)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in ("replace", "cast", "zip", "enumerate", "list", "tuple", "sorted"):
            return NOTHING.union(*(self._types(part) | (named(part) if name == "cast" else NOTHING) for part in node.args))
        return frozenset((name,)) if name in self._known.bases else self._known.returns.get(name, NOTHING)


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """The expressions that a compound one may turn out to be, or to hold."""
    if isinstance(node, ast.BoolOp):
        yield from node.values
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        yield from node.elts
    elif isinstance(node, ast.Await | ast.NamedExpr | ast.Subscript | ast.Starred):
        yield node.value
