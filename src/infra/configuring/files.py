"""Configuration files as flat lists of text with line numbers: INI, YAML, JSON.

A scalar stays the text that was written, whatever the format: YAML's own guesses (``no`` is false, ``2024-06-01`` is a
date) would otherwise change values before their key's type is known.

INI follows `configparser` with interpolation off: ``=`` or ``:`` after a key, keys in any case, ``#`` and ``;`` start a
comment at the start of a line only (a value may hold them, passwords do), deeper indented lines continue a value. Unlike
`configparser` it reports every fault of a file, not the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ...errors import Problem

if TYPE_CHECKING:
    import yaml

Text: TypeAlias = str | None
Value: TypeAlias = Text | tuple[Text, ...]

PROFILE_PREFIX = "profile:"
SUFFIXES = (".ini", ".yaml", ".yml", ".json")
_HEADER = re.compile(r"\[(.+)\]")
_OPTION = re.compile(r"(.*?)\s*[=:]\s*(.*)$")
# What a YAML file may hold once its aliases are written out; ours have some 200 nodes, and a bomb has 9 ** 9.
MAX_YAML_NODES = 20_000
_YAML_MERGE = "tag:yaml.org,2002:merge"
_QUOTED = re.compile(r"(['\"])((?:\\.|(?!\1).)*)\1")
_YAML_TOKEN = re.compile(r".|\\.|<[a-z ]+>")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One value as written. `key` of a profile section is ``section.key``."""

    section: str
    key: str
    value: Value
    line: int


@dataclass(slots=True)
class ParsedFile:
    """What one file says."""

    path: Path
    entries: list[FileEntry] = field(default_factory=list)
    sections: dict[str, int] = field(default_factory=dict)
    """Section names, with the line of each."""
    problems: list[Problem] = field(default_factory=list)
    _lines: dict[tuple[str, str], int] = field(default_factory=dict)

    def report(self, message: str, line: int | None = None, key: str = "") -> None:
        self.problems.append(Problem(message, key=key, where=str(self.path), line=line))

    def add(self, section: str, key: str, value: Value, line: int) -> None:
        """Keep an entry, unless the file has it already."""
        first = self._lines.setdefault((section, key), line)
        if len(self._lines) > len(self.entries):
            self.entries.append(FileEntry(section, key, value, line))
        else:
            self.report(f"stands twice, first on line {first}.", line, f"{section}.{key}")


def parse_file(path: Path) -> ParsedFile:
    """Read one file. Faults, a missing or unreadable file included, are in its `problems`."""
    parsed = ParsedFile(path)
    suffix = path.suffix.lower()
    if suffix == ".toml":
        parsed.report("TOML is not read; use INI, YAML or JSON.")
        return parsed
    if path.is_dir():
        parsed.report("the folder holds no .ini, .yaml, .yml or .json file.")
        return parsed
    try:
        raw = path.read_bytes()
    except OSError as error:
        parsed.report(f"cannot be read: {error.strerror or type(error).__name__}.")
        return parsed
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        parsed.report(f"is not UTF-8 text (byte {error.start + 1}).", raw.count(b"\n", 0, error.start) + 1)
        return parsed
    parse = {".yaml": _parse_yaml, ".yml": _parse_yaml, ".json": _parse_json}.get(suffix, _parse_ini)
    try:
        parse(text, parsed)
    except RecursionError:
        parsed.report("is nested too deeply.")
    return parsed


# INI


def _parse_ini(text: str, parsed: ParsedFile) -> None:
    reader = _IniReader(parsed)
    # Only line ends as files have them: `str.splitlines` also splits at form feeds and Unicode separators.
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        reader.read(number, line)
    reader.finish()


class _IniReader:
    """Reads lines; holds the value that a deeper indented line would continue."""

    def __init__(self, parsed: ParsedFile) -> None:
        self._parsed = parsed
        self._section: str | None = None
        self._key: str | None = None
        self._value: list[str] = []
        self._line = 0
        self._indent = 0

    def read(self, number: int, line: str) -> None:
        value = line.strip()
        if value.startswith(("#", ";")):
            return
        if not value:
            if self._key is not None:
                self._value.append("")
            return
        indent = len(line) - len(line.lstrip())
        if self._key is not None and indent > self._indent:
            self._value.append(value)
            return
        self.finish()
        self._indent = indent
        header = _HEADER.match(value)
        if header:
            self._open(header.group(1), number)
        else:
            self._option(value, number)

    def finish(self) -> None:
        """Hand over the value that was being read."""
        if self._key is not None and self._section is not None:
            self._parsed.add(self._section, self._key, "\n".join(self._value).rstrip(), self._line)
        self._key = None

    def _open(self, name: str, number: int) -> None:
        first = self._parsed.sections.setdefault(name, number)
        if first != number:
            self._parsed.report(f"section [{name}] stands twice, first on line {first}.", number)
        self._section = name

    def _option(self, value: str, number: int) -> None:
        match = _OPTION.match(value)
        if self._section is None:
            self._parsed.report("stands before the first [section].", number)
        elif match is None or not match.group(1):
            # The line itself may be part of a secret, so it is not repeated.
            self._parsed.report("is neither `[section]`, `key = value` nor a comment.", number)
        else:
            self._key, self._value, self._line = match.group(1).rstrip().lower(), [match.group(2).strip()], number


# YAML and JSON: both become nodes with lines, then entries.


@dataclass(frozen=True, slots=True)
class _Scalar:
    text: Text
    line: int


@dataclass(frozen=True, slots=True)
class _List:
    items: tuple[_Node, ...]
    line: int


@dataclass(frozen=True, slots=True)
class _Map:
    pairs: tuple[tuple[str, int, _Node], ...]
    line: int


_Node: TypeAlias = _Scalar | _List | _Map


def _flatten(root: _Node, parsed: ParsedFile) -> None:
    if isinstance(root, _Scalar) and root.text in (None, ""):
        return
    if not isinstance(root, _Map):
        parsed.report("must hold sections at its top.", root.line)
        return
    for section, line, node in root.pairs:
        if section in parsed.sections:
            parsed.report(f"section {section} stands twice, first on line {parsed.sections[section]}.", line)
        parsed.sections[section] = line
        if isinstance(node, _Map):
            _flatten_section(section, "", node, parsed)
        elif not (isinstance(node, _Scalar) and node.text in (None, "")):
            parsed.report("must hold keys and values.", line, section)


def _flatten_section(section: str, prefix: str, node: _Map, parsed: ParsedFile) -> None:
    for name, line, child in node.pairs:
        key = prefix + name
        if isinstance(child, _Map):
            if section.startswith(PROFILE_PREFIX) and "." not in key:
                _flatten_section(section, f"{key}.", child, parsed)
            else:  # what stands inside is not repeated: an unquoted `{secret}` is such a mapping
                parsed.report("must be a plain value or a list, not a mapping.", line, f"{section}.{key}")
        elif isinstance(child, _Scalar):
            parsed.add(section, key, child.text, line)
        elif all(isinstance(item, _Scalar) for item in child.items):
            parsed.add(section, key, tuple(item.text for item in child.items if isinstance(item, _Scalar)), line)
        else:
            parsed.report("must be a list of plain values.", line, f"{section}.{key}")


def _parse_yaml(text: str, parsed: ParsedFile) -> None:
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        # The error's whole text repeats lines of the file, and its reason quotes words of it: either may be a secret.
        # Single characters and the names of YAML's tokens, which it quotes as well, are no words of the file.
        reason = _QUOTED.sub(lambda found: found[0] if _YAML_TOKEN.fullmatch(found[2]) else "...", error.problem or "syntax error")
        parsed.report(f"is not YAML: {reason}.", error.problem_mark.line + 1 if error.problem_mark else None)
        return
    except yaml.YAMLError:
        parsed.report("is not YAML: it holds characters that YAML does not allow.")
        return
    if root is None:
        return
    try:
        tree = _YamlReader().read(root)
    except _YamlFaultError as fault:
        parsed.report(str(fault), fault.line)
        return
    _flatten(tree, parsed)


class _YamlFaultError(Exception):
    def __init__(self, message: str, node: yaml.Node) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1


class _YamlReader:
    """Writes aliases and merge keys out, up to `MAX_YAML_NODES`."""

    def __init__(self) -> None:
        self._read = 0

    def read(self, node: yaml.Node) -> _Node:
        import yaml

        self._read += 1
        if self._read > MAX_YAML_NODES:
            raise _YamlFaultError(f"holds more than {MAX_YAML_NODES} values once its aliases are written out.", node)
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return _Map(tuple(self._pairs(node)), line)
        if isinstance(node, yaml.SequenceNode):
            return _List(tuple(self.read(item) for item in node.value), line)
        return _Scalar(None if node.tag == "tag:yaml.org,2002:null" else str(node.value), line)

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[str, int, _Node]]:
        """The keys of a mapping, then those that ``<<`` takes in and that it does not name itself."""
        import yaml

        own: set[str] = set()
        merges: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _YamlFaultError("a key must be plain text.", key)
            if key.tag == _YAML_MERGE:
                merges.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
                continue
            own.add(key.value)
            yield key.value, key.start_mark.line + 1, self.read(value)
        for merged in merges:
            tree = self.read(merged)
            if not isinstance(tree, _Map):
                raise _YamlFaultError("`<<` must name a mapping, or a list of mappings.", merged)
            yield from (pair for pair in tree.pairs if pair[0] not in own)
            own.update(name for name, _, _ in tree.pairs)


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _parse_json(text: str, parsed: ParsedFile) -> None:
    if not text.strip():
        return
    try:
        json.loads(text, parse_int=str)  # numbers stay text; Python reads none of more than 4,300 digits
    except json.JSONDecodeError as error:
        parsed.report(f"is not JSON: {error.msg}.", error.lineno)
        return
    tokens = _json_tokens(text)
    _flatten(_json_node(next(tokens), tokens), parsed)


def _json_tokens(text: str) -> Iterator[tuple[str, int]]:
    """Tokens with their lines. The text is known to be JSON, so separators carry nothing and are left out."""
    line, done = 1, 0
    for match in _JSON_TOKEN.finditer(text):
        line, done = line + text.count("\n", done, match.start()), match.start()
        if match.group() not in ",:":
            yield match.group(), line


def _json_node(first: tuple[str, int], tokens: Iterator[tuple[str, int]]) -> _Node:
    token, line = first
    if token == "{":  # noqa: S105 - a brace, not a password
        pairs: list[tuple[str, int, _Node]] = []
        for name, name_line in tokens:  # the recursion below takes its part from the same iterator
            if name == "}":
                break
            pairs.append((json.loads(name), name_line, _json_node(next(tokens), tokens)))
        return _Map(tuple(pairs), line)
    if token == "[":  # noqa: S105 - a bracket, not a password
        items: list[_Node] = []
        for item in tokens:
            if item[0] == "]":
                break
            items.append(_json_node(item, tokens))
        return _List(tuple(items), line)
    if token.startswith('"'):
        return _Scalar(json.loads(token), line)
    return _Scalar(None if token == "null" else token, line)  # noqa: S105 - JSON's null
