"""Tokens are counted by the model's own vocabulary, or by a bound that never undercounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from src.agent.context.counting import _KNOWN, ByteBound, LazyCounter, TokenCounter, _packaged, clipped, message_tokens
from src.agent.context.model_window import input_room, known_window
from src.core.chat import Message, ToolCall
from src.errors import ConfigurationError
from src.infra.config import ChatCfg

TEXTS = st.text() | st.text(alphabet="ab 1'\n.", max_size=60) | st.sampled_from(["Größe 漢字 🙂", "<|endoftext|>", "\ud800 lone", "a" * 400])


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level vocabulary of 400 tokens, as GPT's and Llama's are made."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = ["the leave of an employee is paid", "the days that are carried over"] * 20
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def vocabularies(tokenizer_file: Path) -> list[TokenCounter]:
    """The one above, and OpenAI's where they are installed."""
    packaged = [path for model in ("gpt-4", "gpt-4o") if (path := _packaged(model))]
    return [LazyCounter(ChatCfg(tokenizer=path)).get() for path in (tokenizer_file, *packaged)]


@given(text=TEXTS)
def test_the_bound_never_undercounts(vocabularies: list[TokenCounter], text: str) -> None:
    assert all(counter.exact and counter.count(text) <= ByteBound().count(text) for counter in vocabularies)


def test_a_tokenizer_file_counts_exactly(tokenizer_file: Path) -> None:
    counter = LazyCounter(ChatCfg(model="whatever", tokenizer=tokenizer_file)).get()
    assert counter.count("the leave") == len(Tokenizer.from_file(str(tokenizer_file)).encode("the leave").ids) < len("the leave")


@pytest.mark.parametrize("content", [b"no tokenizer", b""])
@pytest.mark.parametrize("name", ["tokenizer.json", "o200k_base.tiktoken"])
def test_a_file_that_is_no_tokenizer_is_named_with_its_setting(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=name) as raised:
        LazyCounter(ChatCfg(tokenizer=path)).get()
    assert raised.value.setting == "chat.tokenizer"


def test_a_model_that_nobody_knows_is_counted_by_the_bound() -> None:
    assert not LazyCounter(ChatCfg(model="our-own")).get().exact


def test_openai_s_vocabularies_are_found_where_they_are_installed_and_known_by_their_hash() -> None:
    counter = LazyCounter(ChatCfg(model="gpt-4o-mini")).get()
    assert counter.exact == (_packaged("gpt-4o-mini") is not None)
    assert {name for name, _, _ in _KNOWN.values()} == {"cl100k_base", "o200k_base"}


@given(text=st.text(alphabet="abc de\n", max_size=200), limit=st.integers(0, 80))
def test_a_clipped_text_is_a_beginning_within_its_limit(text: str, limit: int) -> None:
    cut = clipped(text, limit, ByteBound())
    assert text.startswith(cut)
    assert len(cut) <= limit


def test_messages_count_with_their_calls_and_what_a_template_adds() -> None:
    plain = message_tokens([Message("user", "four")], ByteBound())
    assert plain >= 4 + 4
    called = Message("assistant", "", tool_calls=(ToolCall("1", "search", '{"q": "x"}'),))
    assert message_tokens([called], ByteBound()) >= len('1search{"q": "x"}')


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4", 8192),
        ("gpt-4-32k-0613", 32_768),
        ("gpt-4o-mini", 128_000),
        ("gpt-4.1-nano", 1_047_576),
        ("gpt-5.1", 400_000),
        ("gpt-40", None),
        ("llama", None),
    ],
)
def test_the_longest_fitting_name_says_how_much_a_model_reads(model: str, tokens: int | None) -> None:
    assert known_window(model) == tokens


def test_a_window_known_by_name_alone_is_held_to_only_where_tokens_are_counted_exactly() -> None:
    assert input_room(None, "gpt-4", 1000, exact=True) == 7192
    assert input_room(None, "gpt-4", 1000, exact=False) is None
    assert input_room(4000, "gpt-4", 1000, exact=False) == 3000
