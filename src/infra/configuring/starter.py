"""What `rag config init` asks for, and the commented file that it makes of the answers. Every question is a key of the configuration.

Secrets are no questions: the file says which variable or secret file holds each.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from ..settings import load
from .interpolation import interpolate
from .profiles import PROFILES
from .rules import rule_problems
from .schema import FieldSpec, display, find, schema, without_credentials
from .sources import PROFILE_KEY

Value: TypeAlias = Callable[[str], str]
"""What a key has so far: its answer, else its default."""

_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(:[^{}]*)?\}")
_OFF = frozenset({"", "false", "no", "off", "0"})
_WIDTH = 120
_HEAD = """\
Written by `rag config init`, to start from `{start}`. A key that is commented out shows its default.
All keys: docs/configuration.md, or `rag config explain --all`. What is in force, and why: `rag config explain`.

Secrets do not belong into this file. It says which variable is to hold each, and the name of a file that may hold it
instead, in the folder that RAG_SECRETS_DIR names."""


@dataclass(frozen=True, slots=True)
class Question:
    """A key to ask for, where `when` holds; a secret is not asked for, and only named."""

    key: str
    when: Callable[[Value], bool] = lambda _: True

    @property
    def spec(self) -> FieldSpec:
        spec = find(self.key)
        if spec is None:
            raise ValueError(f"there is no key {self.key}")
        return spec

    @property
    def is_asked(self) -> bool:
        return not self.spec.secret or self.spec.is_address


@dataclass(frozen=True, slots=True)
class Start:
    """A kind of deployment to start from."""

    name: str
    about: str
    profile: str
    questions: tuple[Question, ...]
    required: frozenset[str] = frozenset()
    suggested: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Answers that differ from the default."""

    def default(self, key: str) -> str:
        """What a key has without an answer, as a file would have it: the profile's words, else the default."""
        spec = find(key)
        return PROFILES[self.profile].get(key, display(spec.default) if spec else "")

    def value(self, answers: Mapping[str, str]) -> Value:
        """What keys have with these answers; a variable of the environment counts as nothing."""
        return lambda key: answers[key] if key in answers else interpolate(self.default(key), {}).text

    def open_questions(self, answers: Mapping[str, str]) -> Iterator[Question]:
        """The questions in order, each once the ones before it are answered: `answers` may grow meanwhile."""
        value = self.value(answers)
        yield from (question for question in self.questions if question.when(value))


def is_on(text: str) -> bool:
    return text.strip().lower() not in _OFF


def _has(key: str) -> Callable[[Value], bool]:
    return lambda value: is_on(value(key))


def _credential(*kinds: str) -> Callable[[Value], bool]:
    return lambda value: value("azure.credential") in kinds


_SEARCH = (
    Question("search.host"),
    Question("search.index_alias", _has("search.host")),
    Question("search.use_aws_auth", _has("search.host")),
    Question("search.aws_region", lambda value: is_on(value("search.host")) and is_on(value("search.use_aws_auth"))),
    Question("search.username", lambda value: is_on(value("search.host")) and not is_on(value("search.use_aws_auth"))),
    Question("search.password", _has("search.username")),
)
_MODELS = (
    Question("chat.api_base"),
    Question("chat.api_version"),
    Question("chat.model"),
    Question("embed.model"),
    Question("embed.dims"),
    Question("azure.credential"),
    Question("azure.tenant_id", _credential("certificate", "secret")),
    Question("azure.client_id", _credential("certificate", "secret", "managed")),
    Question("azure.certificate_path", _credential("certificate")),
    Question("azure.certificate_password", _credential("certificate")),
    Question("azure.client_secret", _credential("secret")),
    Question("azure_openai.api_key", _credential("")),
)
_NETWORK = (
    Question("network.proxy"),
    Question("network.proxy_username", _has("network.proxy")),
    Question("network.proxy_password", _has("network.proxy_username")),
    Question("network.no_proxy", _has("network.proxy")),
    Question("network.ca_bundle"),
    Question("network.client_certificate"),
    Question("network.client_key", _has("network.client_certificate")),
    Question("network.client_key_password", _has("network.client_certificate")),
)
_STORAGE = (Question("storage.path"),)

STARTS: Mapping[str, Start] = MappingProxyType(
    {
        start.name: start
        for start in (
            Start("embedded", "everything on this machine: no server, no key, no network", "local", _STORAGE),
            Start("opensearch", "search in your own OpenSearch; models and threads on this machine", "local", _SEARCH + _NETWORK, frozenset({"search.host"})),
            Start("azure", "models of Azure OpenAI; OpenSearch if you have one", "azure", _MODELS + _SEARCH + _NETWORK),
            Start(
                "bank",
                "the network of a bank, by the profile jpmc_azure: certificate, proxy, OpenSearch on AWS",
                "jpmc_azure",
                (Question("environment.jpmc_user_sid"), *_MODELS, *_SEARCH, *_NETWORK),
                suggested=MappingProxyType({"environment.jpmc_user_sid": "${JPMC_USER_SID:}", "search.use_aws_auth": "true"}),
            ),
        )
    }
)
ALSO_CALLED: Mapping[str, str] = MappingProxyType({"local": "embedded", "jpmc_azure": "bank"})


def fault_of(spec: FieldSpec, text: str) -> str:
    """Why a text cannot stand in the file as a key's value; empty where it can. Never repeats the text of a secret."""
    if not text.isprintable():
        return "must be one line of text, without control characters"
    if _REFERENCE.fullmatch(text):
        return ""
    if spec.is_address and text and without_credentials(text) != text.rstrip("/"):
        return "must be an address as http://host:port; user and password have keys of their own, proxy_username and proxy_password"
    if spec.secret and not spec.is_address:
        return f"is a secret, which does not belong into the file: set {spec.variable}, or write ${{VAR}}"
    loaded = load([], {spec.name: text}, environ={})
    problems = loaded.problems if loaded.settings is None else rule_problems(loaded.settings)
    return next((problem.message.rstrip(".") for problem in problems if problem.key == spec.name), "")


def render(start: Start, answers: Mapping[str, str]) -> str:
    """The file: the answers, each under what its key means; questions that were left at their default, commented out."""
    sections: dict[str, list[str]] = {section: [] for section in schema()}
    sections["environment"] += _entry(PROFILE_KEY, start.profile)
    asked = [question for question in start.questions if question.when(start.value(answers))]
    for question in asked:
        sections[question.spec.section] += _entry(question.key, answers.get(question.key), start.default(question.key))
    for key in answers.keys() - {question.key for question in asked} - {PROFILE_KEY}:
        sections.setdefault(key.partition(".")[0], []).extend(_entry(key, answers[key]))
    blocks = ["\n".join((f"[{section}]", *lines)) for section, lines in sections.items() if lines]
    return "\n\n".join((textwrap.indent(_HEAD.format(start=start.name), "# ", lambda _: True).replace("# \n", "#\n"), *blocks)) + "\n"


def secrets_of(start: Start, answers: Mapping[str, str]) -> list[FieldSpec]:
    """The secrets that the file leaves to the environment."""
    return [question.spec for question in start.open_questions(answers) if not question.is_asked and question.key not in answers]


def _entry(key: str, value: str | None, default: str = "") -> Iterator[str]:
    """The lines of a key: what it means, and its value; the default, or where a secret is to be put, behind a comment sign."""
    spec = find(key)
    if spec is None:
        raise ValueError(f"there is no key {key}")
    hidden = value is None and spec.secret and not spec.is_address
    words = f"{spec.description} A secret: variable {spec.variable}, file {spec.section}__{spec.key}." if hidden else spec.description
    yield from textwrap.wrap(words, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False)
    if value is not None:
        yield f"{spec.key} = {value}"
    else:
        yield f"# {spec.key} = {f'${{{spec.variable}}}' if hidden else default}".rstrip()
