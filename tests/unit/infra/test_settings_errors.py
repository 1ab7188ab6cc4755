"""One error lists every problem, and no secret stands in it."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from src.errors import InvalidSettingsError, Problem
from src.infra.config import SearchCfg
from src.infra.configuring.schema import FieldSpec, display, schema
from src.infra.settings import load, load_settings

BROKEN = """\
[serach]
host = x
[search]
hosst = a
timeout_s = -4
use_aws_auth = perhaps
api_key = canary-secret
index_alias =
[chat]
provider = azur
temperature = ${NO_SUCH}
model = ${broken
[embed]
dims = 12 ; a comment
[environment]
cloud_profile = jpmc_asure
[profile:own]
chat.modle = 3
environment.cloud_profile = own
"""


def problems(tmp_path: Path, text: str, name: str = "rag.ini", environ: dict[str, str] | None = None) -> tuple[Problem, ...]:
    path = tmp_path / name
    path.write_text(text)
    return load(path, environ=environ or {}).problems


def test_everything_that_is_wrong_is_listed_at_once_with_its_line(tmp_path: Path) -> None:
    environ = {"RAG_API__PROT": "1", "RAG_SEARCH_HOST": "x", "RAG_SERACH__HOST": "x", "RAG_OTHERTOOL__KEY": "x", "RAG_TEST_DATA": "x", "RAG_CHAT__MODEL": " "}
    path = tmp_path / "rag.ini"
    path.write_text(BROKEN)
    with pytest.raises(InvalidSettingsError) as caught:
        load_settings(path, {"api.port": "abc", "foo": 3}, environ=environ)
    found = {(problem.where.removeprefix(str(tmp_path) + "/"), problem.line, problem.key, problem.nearest) for problem in caught.value.problems}
    assert found == {
        ("rag.ini", 1, "serach", "search"),
        ("rag.ini", 4, "search.hosst", "host"),
        ("rag.ini", 5, "search.timeout_s", ""),
        ("rag.ini", 6, "search.use_aws_auth", ""),
        ("rag.ini", 7, "search.api_key", "[chat] api_key"),
        ("rag.ini", 8, "search.index_alias", ""),
        ("rag.ini", 10, "chat.provider", "azure"),
        ("rag.ini", 11, "chat.temperature", ""),
        ("rag.ini", 12, "chat.model", ""),
        ("rag.ini", 14, "embed.dims", ""),
        ("rag.ini", 16, "environment.cloud_profile", "jpmc_azure"),
        ("rag.ini", 18, "chat.modle", "model"),
        ("rag.ini", 19, "environment.cloud_profile", ""),
        ("RAG_API__PROT", None, "api.prot", "port"),
        ("RAG_CHAT__MODEL", None, "chat.model", ""),
        ("RAG_OTHERTOOL__KEY", None, "othertool", ""),
        ("RAG_SEARCH_HOST", None, "search.host", "RAG_SEARCH__HOST"),
        ("RAG_SERACH__HOST", None, "serach", "search"),
        ("overrides", None, "api.port", ""),
        ("overrides", None, "foo", ""),
    }
    text = str(caught.value)
    assert "canary-secret" not in text
    assert "NO_SUCH" in text
    assert "A comment needs a line of its own" in text
    assert "local, openai, azure" in text


def test_every_problem_says_what_is_allowed(tmp_path: Path) -> None:
    found = {problem.key: problem for problem in problems(tmp_path, BROKEN)}
    assert "host" in found["search.hosst"].allowed
    assert "features" in found["serach"].allowed
    assert found["chat.provider"].allowed == ("local", "openai", "azure")
    assert "own" in found["environment.cloud_profile"].allowed or found["environment.cloud_profile"].line == 19
    assert "more than 0" in found["search.timeout_s"].message


CANARY = "c4n4ry-s3cr3t"
SECRETS = [spec for keys in schema().values() for spec in keys.values() if spec.secret]
# What makes YAML, JSON, INI or an interpolation stumble over the secret.
DISTURBANCES = ["", "${", "${X", "${X}", "*", "&", "!", "!a!", "%", "@", '"', "'", "{", "[", "|", ": ", " #", "\t", "\n", "\\", "}", "\n - "]


@settings(max_examples=300)
@given(
    spec=st.sampled_from(SECRETS),
    before=st.sampled_from(DISTURBANCES),
    after=st.sampled_from(DISTURBANCES),
    form=st.sampled_from([".ini", ".yaml", ".json", "environment", "override", "secret"]),
    broken=st.booleans(),
)
def test_a_secret_never_stands_in_an_error_or_in_what_is_shown(
    tmp_path_factory: pytest.TempPathFactory, spec: FieldSpec, before: str, after: str, form: str, broken: bool
) -> None:
    # In an INI file a line of its own at the margin is another key, and errors name keys.
    assume(form != ".ini" or not before.startswith("\n"))
    section, key = spec.section, spec.key
    value, folder, environ = before + CANARY + after, tmp_path_factory.mktemp("c"), {}
    overrides: dict[str, object] = {"api.port": "wrong"} if broken else {}
    texts = {
        ".ini": f"[{section}]\n{key} = {value}\n",
        ".yaml": f"{section}:\n  {key}: {value}\n",
        ".json": f'{{"{section}": {{"{key}": "{value}"}}}}',
    }
    path = folder / f"f{form}"
    if form in texts:
        path.write_text(texts[form])
    elif form == "environment":
        environ[f"RAG_{section}__{key}".upper()] = value
    elif form == "override":
        overrides[f"{section}.{key}"] = value if not broken else [value]
    else:
        (folder / f"{section}__{key}").write_text(value)
    try:
        loaded = load_settings(path if form in texts else [], overrides, environ=environ, secrets_dir=folder)
    except InvalidSettingsError as error:
        # The formatted traceback holds the causes and contexts too: pydantic's own error repeats its input.
        said = "".join(traceback.format_exception(error)) + repr(error) + repr(error.problems)
    else:
        said = repr(loaded) + str(loaded) + loaded.model_dump_json() + repr(loaded.provenance) + display(getattr(getattr(loaded, section), key))
    assert CANARY not in said


def test_pydantic_settings_own_debug_log_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    (tmp_path / "rag.ini").write_text(f"[search]\nusername = rag\npassword = {CANARY}\n")
    with caplog.at_level("DEBUG", "pydantic_settings"):
        load_settings(tmp_path / "rag.ini", {"chat.api_key": CANARY}, environ={"RAG_API__TOKEN": CANARY})
    assert "password" in caplog.text
    assert CANARY not in caplog.text


def test_a_model_that_is_built_by_hand_hides_its_input_too() -> None:
    from src.infra.config import ChatCfg

    with pytest.raises(ValueError, match="api_key") as caught:
        ChatCfg(api_key=[CANARY])
    assert CANARY not in str(caught.value)


@given(scheme=st.sampled_from(["http", "https", "socks5"]), user=st.text("ab:/#@? "), password=st.text(alphabet=st.characters(codec="utf-8")))
def test_no_user_or_password_within_an_address_is_shown(scheme: str, user: str, password: str) -> None:
    assert display(f"{scheme}://{user}:{password}@host.example:9200/x") == f"{scheme}://**********@host.example:9200/x"


def test_credentials_in_an_address_are_not_shown(tmp_path: Path) -> None:
    assert display("https://user:pass@host:9200/x") == "https://**********@host:9200/x"
    (problem,) = problems(tmp_path, "[chat]\nprovider = https://user:pass@host")
    assert "pass" not in str(problem)


@pytest.mark.parametrize(
    ("lines", "key", "line", "said"),
    [
        ("host = https://user:canary@a.example", "host", 2, "holds credentials"),
        ("host = https://a.example, https://canary@b.example", "host", 2, "holds credentials"),
        ("host = ftp://a.example", "host", 2, "cannot be used"),
        ("password = canary", "password", 2, "no `username`"),
        ("username = can:ary\npassword = canary", "username", 2, "colon"),
        ("username = u\nbearer_token = canary", "bearer_token", 3, "`username`"),
        ("use_aws_auth = true\nusername = u\npassword = canary", "use_aws_auth", 2, "`username` and `password`"),
        ("bearer_token = canary\nuse_aws_auth = true", "use_aws_auth", 3, "`bearer_token`"),
    ],
)
def test_credentials_of_search_that_contradict_each_other_or_cannot_be_sent_are_problems(tmp_path: Path, lines: str, key: str, line: int, said: str) -> None:
    (problem,) = problems(tmp_path, f"[search]\n{lines}")
    assert (problem.key, problem.line, problem.where) == (f"search.{key}", line, str(tmp_path / "rag.ini"))
    assert said in problem.message
    assert "canary" not in str(problem)


def test_no_search_section_shows_a_password_of_an_address() -> None:
    with pytest.raises(ValidationError) as caught:
        SearchCfg(host="https://user:canary@a.example")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "lines",
    ["username = u\npassword = p", "username = u", "bearer_token = t", "use_aws_auth = true", "use_aws_auth = false\nusername = u"],
)
def test_one_kind_of_credential_is_no_problem(tmp_path: Path, lines: str) -> None:
    assert problems(tmp_path, f"[search]\nhost = https://a.example, b.example:9200\n{lines}") == ()


@pytest.mark.parametrize("nothing", ["_none", " _none ", " "])
def test_a_pipeline_that_is_none_is_refused(nothing: str) -> None:
    with pytest.raises(ValidationError, match="must name a search pipeline"):
        SearchCfg(pipeline=nothing)


ADDRESSES = (
    "https://h.test:abc",
    "nonsense",
    "ftp://h.test",
    "https://",
    "https://h.test:0",
    "https://h.test:99999",
    "https://[::1",
    "https://h..test",
    "https://h test",
)


ADDRESS_KEYS = ("chat.api_base", "embed.api_base", "azure.authority_host", "telemetry.endpoint", "search.host", "secrets.vault")
A_HOST_WILL_DO = ("azure.authority_host", "search.host")


@pytest.mark.parametrize(
    ("key", "address"), [(key, address) for key in ADDRESS_KEYS for address in ADDRESSES if not (address == "nonsense" and key in A_HOST_WILL_DO)]
)
def test_an_address_that_no_client_could_use_is_refused_where_it_stands(tmp_path: Path, key: str, address: str) -> None:
    section, _, name = key.partition(".")
    (problem,) = problems(tmp_path, f"[{section}]\n{name} = {address}\n")
    assert (problem.key, problem.line, Path(problem.where).name) == (key, 2, "rag.ini")
    assert address.removeprefix("https://") not in problem.message or address == "https://"


@pytest.mark.parametrize(
    "address", ["https://h.test", "http://10.0.0.1:8080/v1", "https://[::1]:443/", "https://bücher.example", "https://my_host.corp./a?b=c"]
)
def test_an_address_that_can_be_used_is_left_as_it_is(tmp_path: Path, address: str) -> None:
    (tmp_path / "rag.ini").write_text(f"[chat]\napi_base = {address}\n", encoding="utf-8")
    assert load_settings(tmp_path / "rag.ini", environ={}).chat.api_base == address


@pytest.mark.parametrize("address", ["https://login.test?x=1", "login.test#part"])
def test_an_authority_has_neither_query_nor_fragment(tmp_path: Path, address: str) -> None:
    (problem,) = problems(tmp_path, f"[azure]\nauthority_host = {address}\n")
    assert problem.key == "azure.authority_host"


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e400"])
def test_no_number_is_without_end(tmp_path: Path, text: str) -> None:
    floats = [spec for keys in schema().values() for spec in keys.values() if spec.kind is float]
    assert len(floats) > 20
    for spec in floats:
        (problem,) = problems(tmp_path, f"[{spec.section}]\n{spec.key} = {text}\n")
        assert (problem.key, problem.line) == (spec.name, 2)


@pytest.mark.parametrize(("name", "text"), [("rag.json", '{"api":\n{"port": %s}}'), ("rag.yaml", "api:\n  port: %s\n"), ("rag.ini", "[api]\nport = %s\n")])
def test_a_number_of_very_many_digits_is_a_problem_with_its_line(tmp_path: Path, name: str, text: str) -> None:
    (problem,) = problems(tmp_path, text % ("9" * 5000), name)
    assert (problem.key, problem.line, len(problem.message) < 200) == ("api.port", 2, True)
