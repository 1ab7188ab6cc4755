"""The whole configuration as JSON Schema 2020-12: what editors complete, and what YAML and JSON files are checked against.

It follows the files, not the models alone: ``${VAR}`` may stand for any value, a list may be written as text, and sections
``intent:NAME`` and ``profile:NAME`` have names of their own. A file that it passes can still break a rule between keys,
which `rag config validate` knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from ...retrieval.config import IntentCfg
from ..config import Settings
from .files import PROFILE_PREFIX
from .schema import INTENT_PREFIX, FieldSpec, all_names, keys_of, schema
from .sources import PROFILE_KEY

Json: TypeAlias = dict[str, Any]

_NUMBER = re.compile(r"\d+(\.\d+)?")
_BLANK = r"^\s*$"
_TRUTH = r"^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy]|[Yy][Ee][Ss]|[Nn]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff]|[Tt]|[Ff]|1|0)$"
"""JSON Schema's patterns know no case-insensitivity."""
_WHOLE_TEXT = r"^\s*[+-]?\d+(_\d+)*(\.0*)?\s*$"
_NUMBER_TEXT = r"^\s*[+-]?(\d+(_\d+)*\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_REFERENCE = {"$ref": "#/$defs/reference"}
_REFERENCE_MEANING: Json = {
    "type": "string",
    "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:[^{}]*)?\}",
    "description": "${VAR} or ${VAR:default}: the value of an environment variable.",
}


def json_schema() -> Json:
    """The schema. Every part holds what the models hold: types, bounds, choices, defaults, descriptions; secrets are `writeOnly`."""
    sections = {section: _section(Settings.model_fields[section].annotation, keys) for section, keys in schema().items()}
    intent = _section(IntentCfg, keys_of(f"{INTENT_PREFIX}name") or {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of founders-rag",
        "description": "Sections with their keys. Each may be left out, and then has its default.",
        "type": "object",
        "properties": {section: {"$ref": f"#/$defs/{section}"} for section in sections},
        "patternProperties": {
            f"^{INTENT_PREFIX}[a-z0-9][a-z0-9_-]{{0,63}}$": {"$ref": "#/$defs/intent"},
            f"^{PROFILE_PREFIX}.+$": {"$ref": "#/$defs/profile"},
        },
        "additionalProperties": False,
        "$defs": {**sections, "intent": intent, "profile": _profile(), "reference": _REFERENCE_MEANING},
    }


def _profile() -> Json:
    """A profile holds keys as ``section.key``, or sections."""
    names = {name: {"$ref": f"#/$defs/{name.replace('.', '/properties/')}"} for name in all_names() if name != PROFILE_KEY}
    return {
        "type": "object",
        "description": "A named set of defaults, which `environment.cloud_profile` chooses.",
        "properties": {section: {"$ref": f"#/$defs/{section}"} for section in schema()} | names,
        "additionalProperties": False,
    }


def _section(model: object, keys: Mapping[str, FieldSpec]) -> Json:
    _, _, about = (model.__doc__ or "").partition("`: ")
    return {
        "type": ["object", "null"],
        "description": " ".join(about.split()),
        "properties": {key: _key(spec) for key, spec in keys.items()},
        "additionalProperties": False,
    }


def _key(spec: FieldSpec) -> Json:
    """The schema of one key."""
    marks: Json = {"writeOnly": True} if spec.secret else {}
    return {"description": spec.description, "default": _default(spec), **_allowed(spec), **marks}


def _allowed(spec: FieldSpec) -> Json:
    """The values that a file may hold: those of the type, and whatever else the loader reads as them, for it reads the text of a value."""
    typed: Json = {"type": "string"} if spec.secret else TypeAdapter(spec.info.rebuild_annotation()).json_schema()
    options = [*(typed.pop("anyOf", None) or [typed]), *_as_text(spec)]
    if spec.optional or spec.is_list:
        options += [option for option in ({"type": "null"}, {"type": "string", "pattern": _BLANK}) if option not in options]
    return options[0] if len(options) == 1 else {"anyOf": options}


def _as_text(spec: FieldSpec) -> list[Json]:
    """What is not of the type, and read as it: numbers for text, text for numbers, ``yes`` for a truth value, ``${VAR}`` for each."""
    if spec.choices:
        numbers: list[Json] = [{"const": json.loads(choice)} for choice in spec.choices if _NUMBER.fullmatch(choice)]
        return [*numbers, _REFERENCE]
    if spec.is_list:
        return [{"type": "string"}]
    if spec.kind is bool:
        return [{"type": "string", "pattern": _TRUTH}, {"enum": [0, 1]}, _REFERENCE]
    if spec.kind in (int, float):
        return [{"type": "string", "pattern": _WHOLE_TEXT if spec.kind is int else _NUMBER_TEXT}, _REFERENCE]
    return [{"type": ["number", "boolean"]}]


def _default(spec: FieldSpec) -> Any:
    """The default as JSON has it; no secret has one."""
    return None if spec.secret else TypeAdapter(spec.info.rebuild_annotation()).dump_python(spec.default, mode="json")
