"""Files become text with line numbers; INI by the rules of configparser."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.infra.configuring.files import ParsedFile, parse_file
from src.infra.configuring.interpolation import escape, interpolate


def parse(folder: Path, content: str | bytes, name: str = "f.ini") -> ParsedFile:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return parse_file(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


INI_LINES = st.lists(
    st.one_of(
        st.sampled_from(["[a]", "[b c]", "[profile:x] ; y", "  [d]", "", "  ", "# c", "; c", "   # c", "\tx", "    more = b", "no delimiter", "= v", ":"]),
        st.builds(
            "{}{}{}{}".format,
            st.sampled_from(["", " ", "  "]),
            st.sampled_from(["k", "K2", "a b", "x.y"]),
            st.sampled_from(["=", " = ", ":", " : "]),
            st.text(" =:#;%$[]{}abc\"'\\", max_size=8),
        ),
    ),
    max_size=12,
).map("\n".join)


@given(text=INI_LINES)
@example("[a]\nk = 1\n\n  more\n# c\n  again\n\n[b]")
@settings(max_examples=500)
def test_ini_is_read_as_configparser_reads_it(folder: Path, text: str) -> None:
    reference = configparser.RawConfigParser()
    try:
        reference.read_string(text)
    except configparser.Error:
        assert parse(folder, text).problems
        return
    parsed = parse(folder, text)
    assert not parsed.problems
    found: dict[str, dict[str, object]] = {section: {} for section in parsed.sections}
    for entry in parsed.entries:
        found[entry.section][entry.key] = entry.value
    assert found == {section: dict(reference[section]) for section in reference.sections()}


def test_every_fault_of_a_file_is_reported_with_its_line(folder: Path) -> None:
    text = "early = 1\n[a]\nk = 1\nk : 2\nnonsense\n[b]\n[a]\n= x\n"
    assert [(problem.line, problem.key) for problem in parse(folder, text).problems] == [(1, ""), (4, "a.k"), (5, ""), (7, ""), (8, "")]


def test_comment_signs_within_a_value_belong_to_it(folder: Path) -> None:
    (entry,) = parse(folder, "[a]\nk = p#ss;word  # all of it %(x)s").entries
    assert entry.value == "p#ss;word  # all of it %(x)s"


@pytest.mark.parametrize("name", ["f.ini", "f.yaml", "f.json"])
def test_a_byte_order_mark_is_tolerated_and_other_encodings_are_named(folder: Path, name: str) -> None:
    text = {"f.ini": "[a]\nk = ü", "f.yaml": "a:\n  k: ü", "f.json": '{"a":\n {"k": "ü"}}'}[name]
    (entry,) = parse(folder, b"\xef\xbb\xbf" + text.encode(), name).entries
    assert (entry.section, entry.key, entry.value, entry.line) == ("a", "k", "ü", 2)
    (problem,) = parse(folder, text.encode("latin-1"), name).problems
    assert "UTF-8" in problem.message
    assert problem.line == 2
    assert parse(folder, text.encode("utf-16"), name).problems


SCALARS = st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.none())
KEYS = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=10)
TREES = st.dictionaries(KEYS, st.dictionaries(KEYS, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=4), max_size=4)


def as_text(value: object) -> str | None:
    return value if isinstance(value, str) or value is None else json.dumps(value)


@given(tree=TREES, indent=st.sampled_from([None, 0, 2]), name=st.sampled_from(["f.json", "f.yaml"]))
@settings(max_examples=200)
def test_json_and_yaml_keep_every_scalar_as_it_was_written(folder: Path, tree: dict[str, dict[str, object]], indent: int | None, name: str) -> None:
    text = json.dumps(tree, indent=indent) if name == "f.json" else yaml.safe_dump({s: {k: as_texts(v) for k, v in keys.items()} for s, keys in tree.items()})
    parsed = parse(folder, text, name)
    assert not parsed.problems
    expected = [(section, key, as_texts(value)) for section, keys in tree.items() for key, value in keys.items()]
    assert sorted(((e.section, e.key, as_list(e.value)) for e in parsed.entries), key=str) == sorted(expected, key=str)


def as_texts(value: object) -> object:
    return [as_text(item) for item in value] if isinstance(value, list) else as_text(value)


def as_list(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_lines_of_json_are_those_of_the_keys(folder: Path) -> None:
    parsed = parse(folder, '{\n "a": {\n  "k": [1,\n 2],\n  "l": "x\\"\\n{" },\n "b": {"k": 2, "k": 3}}', "f.json")
    assert [(entry.key, entry.line) for entry in parsed.entries] == [("k", 3), ("l", 5), ("k", 6)]
    (problem,) = parsed.problems
    assert (problem.key, problem.line) == ("b.k", 6)


def test_yaml_does_not_guess_types(folder: Path) -> None:
    parsed = parse(folder, "a:\n  date: 2024-06-01\n  no: no\n  none: ~\n  octal: 010\n", "f.yaml")
    assert {entry.key: entry.value for entry in parsed.entries} == {"date": "2024-06-01", "no": "no", "none": None, "octal": "010"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.yaml", "a: [unclosed"),
        ("f.yaml", "a: *nowhere"),
        ("f.yaml", "- a list"),
        ("f.yaml", "a: 3"),
        ("f.yaml", "a: {k: [[1]]}"),
        ("f.yaml", "a: &x\n  k: *x"),
        ("f.yaml", "a: 1\n---\nb: 1"),
        ("f.yaml", "a: \x01"),
        ("f.yaml", "a: {? {b: c} : d}"),
        ("f.yaml", "a: {<<: text}"),
        ("f.yaml", "a: {b: {c: d}}"),
        ("f.yaml", "profile:a: {b: {c: {d: e}}}"),
        ("f.json", '{"a": }'),
        ("f.json", "[1]"),
        ("f.json", "3"),
        ("f.json", "[" * 100_000),
    ],
)
def test_what_is_no_configuration_is_one_problem_of_the_file(folder: Path, name: str, text: str) -> None:
    (problem,) = parse(folder, text, name).problems
    assert problem.where.endswith(name)


@pytest.mark.parametrize("form", ["{{k: [{}]}}", "{{k: {{a: {}}}}}", "{{<<: {{b: {}}}}}"])
def test_aliases_that_write_each_other_out_are_bounded(folder: Path, form: str) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (problem,) = parse(folder, "\n".join(["a0: &a0 [x]", *levels, f"z: {form.format('*a29')}"]), "f.yaml").problems
    assert "aliases" in problem.message


def test_yaml_merge_keys_take_in_what_a_mapping_does_not_name_itself(folder: Path) -> None:
    parsed = parse(folder, "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 5\nd: {<<: *b}\n", "f.yaml")
    assert not parsed.problems
    assert {e.key: e.value for e in parsed.entries if e.section == "c"} == {"x": "5", "y": "2", "z": "4"}
    assert {e.key: e.value for e in parsed.entries if e.section == "d"} == {"y": "3", "z": "4"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: b: c", "is not YAML: mapping values are not allowed here"),
        ("a: [b\nc: {d", "is not YAML: expected ',' or ']', but got ':'"),
        ("a:\n b: 1\nc\n", "is not YAML: could not find expected ':'"),
        ("a:\n  - b\n c: d", "is not YAML: expected <block end>, but found '<block mapping start>'"),
        ("a: *canary", "is not YAML: found undefined alias ..."),
        ('a: "\\canary"\n', "is not YAML: found unknown escape character 'c'"),
        ("%TAG !canary a\n---\n", "is not YAML: expected '!', but found ' '"),
    ],
)
def test_why_a_file_is_not_yaml_is_said_without_its_words(folder: Path, text: str, reason: str) -> None:
    (problem,) = parse(folder, text, "f.yaml").problems
    assert reason in problem.message
    assert "canary" not in problem.message


@pytest.mark.parametrize("name", ["f.ini", "f.yaml", "f.json"])
def test_an_empty_file_says_nothing(folder: Path, name: str) -> None:
    parsed = parse(folder, "", name)
    assert not parsed.entries
    assert not parsed.problems


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(text=st.text("$:{}Aab \\") | st.text())
def test_an_escaped_text_comes_back_unchanged(text: str) -> None:
    result = interpolate(escape(text), {"A": "never"})
    assert (result.text, result.variables, result.malformed) == (text, (), False)


@given(name=NAMES, value=st.text(), default=st.text(st.characters(exclude_characters="{}")), head=st.text("ab $}"), tail=st.text("ab $}"))
@example("A", "${B}", "", "", "")
def test_a_variable_gives_its_value_and_its_default_only_when_it_is_not_set(name: str, value: str, default: str, head: str, tail: str) -> None:
    head = head.rstrip("$")  # a dollar before a reference escapes it
    plain, with_default = f"{head}${{{name}}}{tail}", f"{head}${{{name}:{default}}}{tail}"
    assert interpolate(plain, {name: value}).text == head + value + tail
    assert interpolate(with_default, {name: value}).text == head + value + tail
    assert interpolate(with_default, {}).text == head + default + tail
    assert interpolate(plain, {}).missing == (name,)
    assert interpolate(with_default, {}).missing == ()
