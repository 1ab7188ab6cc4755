"""Loading: precedence, sources, profiles, files and folders."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from src.errors import ConfigurationError, InvalidSettingsError
from src.infra.config import ChatCfg, SearchCfg, Settings
from src.infra.configuring.profiles import PROFILES
from src.infra.configuring.schema import find, schema
from src.infra.settings import load, load_settings, source_of
from tests.samples import BANK, COMPANY


def write(folder: Path, text: str, name: str = "rag.ini") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


class TestSamples:
    def test_the_first_sample_loads_word_for_word(self, tmp_path: Path) -> None:
        loaded = load_settings(write(tmp_path, COMPANY), environ={})
        assert loaded.search == SearchCfg(host="https://opensearch.company.com", index_alias="utilities-docs", username="search_user", timeout_s=5.0)
        assert loaded.search.chosen_engine == "opensearch"
        assert loaded.chat == ChatCfg(provider="azure", model="gpt-4", api_base="https://openai.company.com", api_version="2024-06-01")
        assert (loaded.embed.provider, loaded.embed.model, loaded.embed.dims) == ("azure", "text-embedding-ada-002", 1536)

    def test_the_second_sample_loads_with_its_profile(self, tmp_path: Path) -> None:
        loaded = load_settings(write(tmp_path, BANK), environ={"JPMC_USER_SID": "u123"})
        assert loaded.environment.jpmc_user_sid == "u123"
        assert loaded.search.use_aws_auth is True
        assert loaded.azure_openai.api_key == SecretStr("your-api-key-here")
        assert loaded.azure.credential == "certificate"
        assert loaded.network.proxy == SecretStr("http://proxy.jpmchase.net:10443")
        assert (loaded.chat.provider, loaded.embed.provider) == ("azure", "azure")

    def test_the_second_sample_without_its_variable_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidSettingsError, match="JPMC_USER_SID") as caught:
            load_settings(write(tmp_path, BANK), environ={})
        (problem,) = caught.value.problems
        assert (problem.key, problem.line) == ("environment.jpmc_user_sid", 9)

    def test_the_packaged_default_is_the_defaults_and_loads_with_every_profile(self, root: Path) -> None:
        assert load_settings(root / "config.ini", environ={}) == Settings()
        for profile in PROFILES:
            loaded = load_settings(root / "config.ini", environ={"CLOUD_PROFILE": profile})
            assert loaded.environment.cloud_profile == profile
            for name in PROFILES[profile]:
                assert source_of(loaded, name).kind == "profile", "the packaged file must not stand in a profile's way"

    def test_what_the_packaged_default_shows_commented_out_is_true(self, root: Path) -> None:
        section, unknown = "", []
        for line in (root / "config.ini").read_text().splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            key, equals, _ = line.removeprefix("# ").partition(" = ")
            if line.startswith("# ") and equals and " " not in key and "." not in key and find(f"{section}.{key}") is None:
                unknown.append(line)
        assert not unknown


LAYERS = ("override", "environment", "secret", "file 2", "file 1", "profile")


def build(folder: Path, chosen: frozenset[str], values: dict[str, str]) -> Settings:
    """Settings in which each chosen layer sets search.index_alias."""
    profile = f"[profile:own]\nsearch.index_alias = {values['profile']}\n" if "profile" in chosen else "[profile:own]\n"
    first = f"[search]\nindex_alias = {values['file 1']}\n" if "file 1" in chosen else ""
    second = f"[search]\nindex_alias = {values['file 2']}\n" if "file 2" in chosen else ""
    paths = [write(folder, "[environment]\ncloud_profile = own\n" + profile + first, "1.ini"), write(folder, second, "2.ini")]
    secrets = folder / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / "search__index_alias").unlink(missing_ok=True)
    if "secret" in chosen:
        write(secrets, values["secret"], "search__index_alias")
    environ = {"RAG_SEARCH__INDEX_ALIAS": values["environment"]} if "environment" in chosen else {}
    overrides = {"search.index_alias": values["override"]} if "override" in chosen else {}
    return load_settings(paths, overrides, environ=environ, secrets_dir=secrets)


class TestPrecedence:
    @settings(max_examples=60)
    @given(chosen=st.frozensets(st.sampled_from(LAYERS)), seed=st.integers(0, 1000))
    def test_the_highest_layer_wins_and_shadows_exactly_the_others(self, tmp_path_factory: pytest.TempPathFactory, chosen: frozenset[str], seed: int) -> None:
        rng = random.Random(seed)
        values = {layer: f"alias-{rng.randrange(10**6)}" for layer in LAYERS}
        loaded = build(tmp_path_factory.mktemp("p"), chosen, values)
        order = [layer for layer in LAYERS if layer in chosen]
        source = source_of(loaded, "search.index_alias")
        assert loaded.search.index_alias == (values[order[0]] if order else "rag-documents")
        kinds = [layer.split()[0] for layer in order] or ["default"]
        assert [source.kind, *(item.kind for item in source.shadowed)] == kinds

    def test_sources_name_variable_file_and_line(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[search]\n\nhost = a\n[chat]\nmodel = ${MODEL:m}")
        loaded = load_settings(path, environ={"RAG_SEARCH__HOST": "b"})
        source = source_of(loaded, "search.host")
        assert (source.kind, source.where, source.line) == ("environment", "RAG_SEARCH__HOST", None)
        assert [(item.kind, item.where, item.line) for item in source.shadowed] == [("file", str(path), 3)]
        assert source_of(loaded, "chat.model").variables == ("MODEL",)
        assert source_of(loaded, "api.port").kind == "default"
        assert loaded.provenance.files == (path,)

    def test_source_of_an_unknown_key_names_the_nearest(self) -> None:
        with pytest.raises(ConfigurationError, match=r"search\.host"):
            source_of(Settings(), "search.hots")

    def test_a_shadowed_value_need_not_be_usable(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[api]\nport = ${NO_SUCH}\n")
        assert load_settings(path, environ={"RAG_API__PORT": "81"}).api.port == 81

    def test_overrides_come_dotted_or_nested_as_text_or_typed(self, tmp_path: Path) -> None:
        overrides = {"api.port": 81, "search": {"use_aws_auth": "yes"}, "chat.api_key": SecretStr("k"), "storage.path": tmp_path, "search.host": None}
        loaded = load_settings(write(tmp_path, "[search]\nhost = a"), overrides, environ={})
        assert (loaded.api.port, loaded.search.use_aws_auth, loaded.storage.path, loaded.search.host) == (81, True, tmp_path, None)
        assert loaded.chat.api_key == SecretStr("k")

    def test_an_empty_value_unsets_and_an_empty_list_is_empty(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[environment]\ncloud_profile = jpmc_azure\n[network]\nproxy =\nno_proxy =\n")
        network = load_settings(path, environ={}).network
        assert (network.proxy, network.no_proxy) == (None, ())

    @pytest.mark.parametrize(("text", "value"), [(t, True) for t in ("true", "YES", "on", "1")] + [(f, False) for f in ("false", "no", "Off", "0")])
    def test_feature_flags_are_typed_booleans(self, tmp_path: Path, text: str, value: bool) -> None:
        assert load_settings(write(tmp_path, f"[features]\nupload = {text}"), environ={}).features.upload is value

    @given(items=st.lists(st.from_regex(r"[a-z0-9.*:/-]+", fullmatch=True), max_size=6))
    def test_lists_are_separated_by_commas(self, items: list[str]) -> None:
        assert load_settings([], {"network.no_proxy": " , ".join(items)}, environ={}).network.no_proxy == tuple(items)


class TestProfiles:
    def test_the_variable_chooses_and_shadows_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, "[environment]\ncloud_profile = azure")
        loaded = load_settings(path, environ={"CLOUD_PROFILE": "aws"})
        assert loaded.environment.cloud_profile == "aws"
        assert source_of(loaded, "environment.cloud_profile").where == "CLOUD_PROFILE"
        both = load_settings(path, environ={"CLOUD_PROFILE": "aws", "RAG_ENVIRONMENT__CLOUD_PROFILE": "local"})
        assert both.environment.cloud_profile == "local"
        assert load_settings(path, environ={"CLOUD_PROFILE": ""}).environment.cloud_profile == "azure"

    def test_a_company_adds_its_own_and_adds_to_ours(self, tmp_path: Path) -> None:
        first = write(tmp_path, "[environment]\ncloud_profile = azure\n[profile:azure]\nchat.model = ours\n[profile:acme]\nchat.model = ${NO_SUCH}\n", "1.ini")
        second = write(tmp_path, '"profile:azure":\n  chat:\n    temperature: 0.5\n', "2.yaml")
        loaded = load_settings([first, second], environ={})
        assert (loaded.chat.provider, loaded.chat.model, loaded.chat.temperature) == ("azure", "ours", 0.5)
        assert str(source_of(loaded, "chat.model")) == f"profile azure {first}:4"
        assert source_of(loaded, "chat.model").shadowed[0].where == "azure"

    def test_built_in_profiles_take_the_standard_variables_where_set(self) -> None:
        environ = {"CLOUD_PROFILE": "jpmc_azure", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_CERTIFICATE_PATH": "/c.pem", "AZURE_OPENAI_ENDPOINT": "https://x"}
        loaded = load_settings([], environ=environ)
        assert (loaded.azure.tenant_id, loaded.azure.certificate_path, loaded.chat.api_base) == ("t", Path("/c.pem"), "https://x")
        assert loaded.azure.client_id is None


class TestFiles:
    def test_the_argument_then_the_variable_then_the_folder_then_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        monkeypatch.chdir(tmp_path)
        assert load(environ={}).files == (root / "config.ini",)
        local = write(tmp_path, "[api]\nport = 1", "config.ini")
        named, more = write(tmp_path, "[api]\nport = 2", "two.ini"), write(tmp_path, "[api]\nport = 3", "three.conf")
        assert (load(environ={}).files, load(environ={}).found_by) == ((local,), "./config.ini")
        environ = {"RAG_CONFIG": f"two.ini{os.pathsep}{more}"}
        assert (load(environ=environ).files, load_settings(environ=environ).api.port) == ((named, more), 3)
        assert load("two.ini", environ=environ).files == (named,)
        assert load_settings([more, named], environ=environ).api.port == 2

    def test_a_folder_is_merged_in_the_order_of_names(self, tmp_path: Path) -> None:
        write(tmp_path, "[api]\nport = 1\nhost = a", "10.ini")
        write(tmp_path, "api:\n  port: 2\n", "20.yaml")
        write(tmp_path, '{"api": {"port": 3, "cors_origins": ["x", "y"]}}', "30.json")
        write(tmp_path, "[api]\nport = 4", ".hidden.ini")
        write(tmp_path, "not ours", "README.txt")
        loaded = load_settings(tmp_path, environ={})
        assert (loaded.api.port, loaded.api.host, loaded.api.cors_origins) == (3, "a", ("x", "y"))
        assert [path.name for path in loaded.provenance.files] == ["10.ini", "20.yaml", "30.json"]

    @pytest.mark.parametrize("name", ["missing.ini", "empty", "x.toml"])
    def test_a_path_without_a_configuration_is_an_error_that_names_it(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "empty").mkdir()
        write(tmp_path, "", "x.toml")
        with pytest.raises(InvalidSettingsError, match=name):
            load_settings(tmp_path / name, environ={})

    @pytest.mark.parametrize("text", ["[alembic]\nscript = x\n[loggers]\nkeys=root", "no configuration at all", "[broken\n"])
    def test_somebody_elses_config_ini_is_told_apart(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.chdir(tmp_path)
        path = write(tmp_path, text, "config.ini")
        with pytest.raises(InvalidSettingsError, match="--config") as caught:
            load_settings(environ={})
        assert len(caught.value.problems) == 1
        assert str(path) in str(caught.value)

    def test_a_config_ini_that_is_partly_ours_lists_its_problems_and_the_way_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path, "[cache]\nbackend = redis\n[web]\nx = 1\n", "config.ini")
        with pytest.raises(InvalidSettingsError, match="--config") as caught:
            load_settings(environ={})
        assert [problem.line for problem in caught.value.problems] == [2, 3]


class TestSecretFiles:
    def test_docker_and_kubernetes_folders_are_read(self, tmp_path: Path) -> None:
        data = tmp_path / "..2026_01"
        data.mkdir()
        write(data, "from k8s\n", "search__password")
        (tmp_path / "..data").symlink_to(data.name)
        (tmp_path / "search__password").symlink_to("..data/search__password")
        write(tmp_path, "\ufefftoken ", "RAG_API__TOKEN")
        (tmp_path / "keystore.p12").write_bytes(b"\xff\xfe\x00")
        (tmp_path / "other__app").write_bytes(b"\xff\xfe\x00")
        loaded = load_settings([], {"search.username": "rag"}, environ={"RAG_SECRETS_DIR": str(tmp_path)})
        assert loaded.search.password == SecretStr("from k8s")
        assert loaded.api.token == SecretStr("token")
        assert source_of(loaded, "search.password").where == str(tmp_path / "search__password")

    def test_no_folder_is_read_unless_it_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path, "x", "search__password")
        assert load_settings([], environ={}).search.password is None

    def test_a_misspelt_section_is_a_fault(self, tmp_path: Path) -> None:
        write(tmp_path, "x", "caht__api_key")
        write(tmp_path, "x", "RAG_OTHERTOOL__KEY")
        problems = load([], environ={"RAG_SECRETS_DIR": str(tmp_path), "RAG_CAHT__MODEL": "x"}).problems
        assert [(problem.key, problem.nearest) for problem in problems] == [("othertool", ""), ("caht", "chat"), ("caht", "chat")]

    def test_faults_are_listed(self, tmp_path: Path) -> None:
        write(tmp_path, "x", "search__passwrd")
        (tmp_path / "api__token").write_bytes(b"\xff")
        (tmp_path / "chat__api_key").write_bytes(b"x" * (2 << 20))
        problems = load([], environ={"RAG_SECRETS_DIR": str(tmp_path)}).problems
        assert [problem.key for problem in problems] == ["api.token", "chat.api_key", "search.passwrd"]
        assert problems[2].nearest == "password"
        (missing,) = load([], environ={"RAG_SECRETS_DIR": str(tmp_path / "missing")}).problems
        assert missing.where == str(tmp_path / "missing")


class TestSettings:
    def test_they_are_frozen_compare_by_value_and_pickle(self, tmp_path: Path) -> None:
        loaded = load_settings(write(tmp_path, "[api]\nport = 8000"), environ={})
        with pytest.raises(ValidationError):
            loaded.api.port = 1  # type: ignore[misc]  # the point of the test
        assert loaded == Settings()
        assert hash(loaded) == hash(Settings())
        assert source_of(pickle.loads(pickle.dumps(loaded)), "api.port").line == 2

    @given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
    @example("${X}")
    def test_environment_values_are_taken_as_they_are(self, value: str) -> None:
        loaded = load_settings([], environ={"RAG_CHAT__MODEL": value, "X": "no"}) if value.strip() else None
        assert loaded is None or loaded.chat.model == value


class TestValues:
    @pytest.mark.parametrize("text", ["http://a, http://b", '["http://a", "http://b"]', ' [ "http://a",\n"http://b" ] '])
    def test_a_list_is_written_with_commas_or_as_json(self, text: str) -> None:
        assert load_settings([], environ={"RAG_API__CORS_ORIGINS": text}).api.cors_origins == ("http://a", "http://b")

    @pytest.mark.parametrize("text", ["['http://a']", '["http://a"', '["a", 1]', '[""], x'])
    def test_a_list_that_is_nearly_json_is_refused(self, text: str) -> None:
        (problem,) = load([], environ={"RAG_API__CORS_ORIGINS": text}).problems
        assert "JSON list" in problem.message

    def test_an_address_in_brackets_is_an_item(self) -> None:
        assert load_settings([], environ={"RAG_NETWORK__NO_PROXY": "[::1], host"}).network.no_proxy == ("[::1]", "host")

    def test_a_tilde_is_the_home_folder_in_every_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/somebody")
        specs = [spec for keys in schema().values() for spec in keys.values() if spec.kind is Path]
        loaded = load_settings([], {spec.name: "~/x" for spec in specs if spec.section != "retrieval"})
        assert specs
        assert {getattr(getattr(loaded, spec.section), spec.key) for spec in specs} == {Path("/home/somebody/x")}

    def test_the_home_of_nobody_is_a_problem(self) -> None:
        (problem,) = load([], {"storage.path": "~no-such-user/x"}, environ={}).problems
        assert problem.key == "storage.path"
