"""Search configuration is pure data: what it says for every language and size, and what it refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import ConfigurationError
from src.infra.config import SearchCfg
from src.infra.search.opensearch import fields
from src.infra.search_config import LANGUAGES, SIZES, index_body, loading, memory_estimate, search_pipeline, serving, vector_bytes


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES)
def test_every_body_is_plain_json_and_names_only_its_own_parts(language: str, size: str) -> None:
    body = index_body(dims=384, embedder="model", language=language, size=size)
    assert json.loads(json.dumps(body)) == body
    analysis = body["settings"]["analysis"]
    for analyzer in analysis["analyzer"].values():
        assert analyzer["tokenizer"] in analysis["tokenizer"]
        assert all(name in analysis["filter"] for name in analyzer["filter"] if name.startswith("rag_"))


def test_the_index_says_what_it_was_made_for() -> None:
    body = index_body(dims=7, embedder="model@3", language="german")
    assert body["mappings"]["_meta"][fields.META] == {"format": fields.FORMAT, "embedder": "model@3", "dims": 7, "space": fields.SPACE, "language": "german"}
    assert body["mappings"]["dynamic"] == "strict"
    assert body["mappings"]["_source"] == {"excludes": [fields.CONTEXT, fields.SHOWN]}


def test_every_field_of_the_layout_is_mapped() -> None:
    kinds = {fields.CHUNK, fields.DOCUMENT, fields.INTENT, fields.META, fields.SPACE}
    names = {value for name, value in vars(fields).items() if name.isupper() and isinstance(value, str)} - kinds
    assert set(index_body(dims=7, embedder="m")["mappings"]["properties"]) == names


@pytest.mark.parametrize(
    ("size", "engine", "expected"), [("small", None, "lucene"), ("large", None, "faiss"), ("small", "faiss", "faiss"), ("large", "lucene", "lucene")]
)
def test_engine_follows_from_the_size_unless_it_is_named(size: str, engine: str | None, expected: str) -> None:
    body = index_body(dims=7, embedder="m", size=size, engine=engine)  # type: ignore[arg-type] # parametrize gives plain text
    assert body["mappings"]["properties"][fields.VECTOR]["method"]["engine"] == expected
    assert ("knn.algo_param.ef_search" in body["settings"]["index"]) == (expected == "faiss")


def test_what_loading_changes_serving_gives_back() -> None:
    for replicas in (None, 0, 2):
        assert set(loading()) <= {*serving("small", replicas), "number_of_replicas"}
    assert serving("small", 2)["number_of_replicas"] == 2


def test_sizes_of_the_configuration_are_those_that_there_are() -> None:
    for size in SIZES:
        assert SearchCfg(size=size).size == size
    assert SearchCfg().language in LANGUAGES


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [({"language": "klingon"}, "search.language"), ({"size": "huge"}, "search.size"), ({"dims": 0}, "embed.dims"), ({"dims": 16_001}, "embed.dims")],
)
def test_what_no_server_could_map_is_refused_by_its_setting(arguments: dict[str, object], setting: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        index_body(**{"dims": 384, "embedder": "m", **arguments})  # type: ignore[arg-type] # wrong values are the point
    assert caught.value.setting == setting


def test_memory_follows_the_formula_of_the_documentation() -> None:
    assert vector_bytes(256) == pytest.approx(1.1 * (4 * 256 + 8 * 16))
    assert vector_bytes(768, bits=16, m=24) == pytest.approx(1.1 * (2 * 768 + 8 * 24))
    assert memory_estimate(1_000_000, dims=384, size="small", replicas=0) == 1_830_400_000
    assert memory_estimate(1_000_000, dims=384, size="small", replicas=1) == 2 * 1_830_400_000


@given(st.floats(0, 1))
def test_weights_of_a_pipeline_are_those_of_the_legs(weight: float) -> None:
    processor = search_pipeline("min_max", [weight, 1 - weight])["phase_results_processors"][0]["normalization-processor"]
    assert processor["combination"]["parameters"]["weights"] == [weight, 1 - weight]


def test_rank_fusion_has_a_constant_and_no_weights() -> None:
    assert "weights" not in json.dumps(search_pipeline("rrf", [0.9, 0.1], rrf_k=17))
    assert search_pipeline("rrf", rrf_k=17)["phase_results_processors"][0]["score-ranker-processor"]["combination"]["rank_constant"] == 17


@pytest.mark.parametrize("weights", [[0.5, 0.6], [-0.1, 1.1], [float("nan"), 0.5]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigurationError):
        search_pipeline("min_max", weights)
