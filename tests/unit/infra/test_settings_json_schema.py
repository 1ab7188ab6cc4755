"""`rag config schema`: what the loader takes, it takes; what the loader calls unknown or of the wrong type, it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from src.infra.configuring.json_schema import json_schema
from src.infra.configuring.schema import all_names, find, keys_of, schema
from src.infra.settings import load

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
SAMPLES: dict[str, dict[str, Any]] = {
    "first": {
        "search": {"host": "https://opensearch.company.com", "index_alias": "utilities-docs", "username": "search_user", "timeout_s": 5.0},
        "chat": {"provider": "azure", "model": "gpt-4", "api_base": "https://openai.company.com", "api_version": "2024-06-01"},
        "embed": {"provider": "azure", "model": "text-embedding-ada-002", "dims": 1536},
    },
    "second": {
        "search": {"host": "https://opensearch.jpmchase.net", "use_aws_auth": True, "timeout_s": 10.0},
        "azure_openai": {"api_key": "your-api-key-here"},
        "environment": {"cloud_profile": "jpmc_azure", "jpmc_user_sid": "${JPMC_USER_SID}"},
    },
}
GOOD: list[Any] = [
    {},
    {"search": None},
    {"search": {"host": None}},
    {"api": {"port": "${PORT:8000}"}},
    {"search": {"use_aws_auth": "${SIGN:false}"}},
    {"network": {"no_proxy": ["localhost", "10.0.0.0/8"]}},
    {"network": {"no_proxy": "localhost, 10.0.0.0/8"}},
    {"network": {"tls_min_version": 1.2, "connect_timeout_s": "30", "pool_size": " 10 ", "no_proxy": None}},
    {"network": {"tls_min_version": "1.3", "connect_timeout_s": "1.5e1", "proxy": "", "no_proxy": "", "trust_env": "No"}},
    {"search": {"use_aws_auth": "yes", "replicas": "", "fuzziness": 1, "aws_profile": 12345}},
    {"search": {"use_aws_auth": 1, "replicas": "2", "knn_engine": ""}},
    {"intent:error-code": {"pattern": "x", "mode": "bm25"}},
    {"profile:acme": {"chat.provider": "azure", "network": {"proxy": "http://p:1"}}},
]
BAD: list[Any] = [
    [],
    {"serach": {}},
    {"search": {"hosst": "a"}},
    {"search": []},
    {"search": {"timeout_s": 0}},
    {"search": {"timeout_s": "soon"}},
    {"search": {"engine": "solr"}},
    {"search": {"host": {"name": "a"}}},
    {"api": {"port": 70000}},
    {"api": {"port": 1.5}},
    {"api": {"port": "1.5"}},
    {"api": {"port": ""}},
    {"network": {"tls_min_version": 1.1}},
    {"network": {"trust_env": "perhaps"}},
    {"network": {"trust_env": 2}},
    {"search": {"timeout_s": "inf"}},
    {"intent:Not A Name": {"pattern": "x"}},
    {"intent:a": {"patern": "x"}},
    {"profile:acme": {"chat.provder": "azure"}},
    {"profile:acme": {"environment.cloud_profile": "azure"}},
    {"intents": []},
]


def properties() -> Iterator[tuple[str, dict[str, Any]]]:
    for section in schema():
        for key, body in SCHEMA["$defs"][section]["properties"].items():
            yield f"{section}.{key}", body


def test_it_is_valid_json_schema_2020_12() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_it_has_every_key_with_its_description_and_default() -> None:
    found = dict(properties())
    assert list(found) == list(all_names())
    assert set(SCHEMA["$defs"]["intent"]["properties"]) == set(keys_of("intent:name") or ())
    for name, body in found.items():
        assert body["description"] == getattr(find(name), "description", ""), name
        assert "default" in body, name
        if body["default"] is not None:
            Draft202012Validator({"$defs": SCHEMA["$defs"], **body}).validate(body["default"])


def test_choices_are_enums_and_secrets_are_write_only_without_defaults() -> None:
    for name, body in properties():
        spec = find(name)
        assert spec is not None
        enums = [tuple(option["enum"]) for option in body.get("anyOf", [body]) if "enum" in option and option != {"enum": [0, 1]}]
        assert enums == ([spec.choices] if spec.choices else [])
        assert body.get("writeOnly", False) == spec.secret
        assert not (spec.secret and body["default"])


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_of_the_design_are_valid(name: str, tmp_path: Path) -> None:
    VALIDATOR.validate(SAMPLES[name])
    path = tmp_path / "rag.json"
    path.write_text(json.dumps(SAMPLES[name]))
    assert load(path, environ={"JPMC_USER_SID": "u1"}).problems == ()


@pytest.mark.parametrize("document", GOOD, ids=str)
def test_what_the_loader_takes_is_valid(document: Any, tmp_path: Path) -> None:
    VALIDATOR.validate(document)
    path = tmp_path / "rag.json"
    path.write_text(json.dumps(document))
    assert load(path, environ={}).problems == ()


@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_the_loader_refuses_for_its_shape_is_not_valid(document: Any, tmp_path: Path) -> None:
    assert not VALIDATOR.is_valid(document)
    path = tmp_path / "rag.json"
    path.write_text(json.dumps(document))
    assert load(path, environ={}).problems


def test_sections_and_keys_have_no_names_but_their_own() -> None:
    for section in (*schema(), "intent", "profile"):
        assert SCHEMA["$defs"][section]["additionalProperties"] is False
        assert not SCHEMA["$defs"][section]["description"].startswith(("NAME", "`"))
