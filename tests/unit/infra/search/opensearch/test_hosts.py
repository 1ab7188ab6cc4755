"""`[search] host`: one address or several, and never a password in an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import ConfigurationError
from src.infra.search.opensearch.wire.connection import header_lines, with_query
from src.infra.search.opensearch.wire.hosts import parse_hosts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://search.example.com", ["https://search.example.com"]),
        ("https://search.example.com:443/", ["https://search.example.com"]),
        ("http://a:9200, http://b:9201 ,", ["http://a:9200", "http://b:9201"]),
        ("http://a:9200,http://A:9200", ["http://a:9200"]),
        ("search.example.com:9200", ["https://search.example.com:9200"]),
        ("https://gateway.example.com/search/", ["https://gateway.example.com/search"]),
        ("http://[::1]:9200", ["http://[::1]:9200"]),
        ("https://bücher.example", ["https://xn--bcher-kva.example"]),
    ],
)
def test_addresses_are_read_in_order_each_once(text: str, expected: list[str]) -> None:
    assert [str(host) for host in parse_hosts(text)] == expected


@pytest.mark.parametrize("text", [None, "", " , ", "ftp://a", "https://", "https://a:99999", "https://a?x=1", "https://a b"])
def test_what_is_no_address_names_the_setting(text: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"search\.host"):
        parse_hosts(text)


@pytest.mark.parametrize("text", ["https://user:hunter2@a", "https://hunter2@a", "https://user:hunter2@a:x"])
def test_credentials_in_an_address_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_hosts(text)
    assert "hunter2" not in str(raised.value)


@given(st.text())
def test_no_path_can_end_the_request_line(path: str) -> None:
    target = with_query("/" + path, {"q": path.encode("utf-8", "replace").decode()})
    assert target.isascii()
    assert not set(target) & set(" \r\n\t\0")


def test_an_encoded_path_stays_as_it_is() -> None:
    assert with_query("/docs/_doc/a%2Fb%25", {"refresh": "true", "q": "a b"}) == "/docs/_doc/a%2Fb%25?refresh=true&q=a+b"


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\0", "日本"])
def test_no_header_value_can_end_its_line_and_errors_do_not_repeat_it(value: str) -> None:
    with pytest.raises(ValueError, match="authorization") as raised:
        header_lines({"authorization": value})
    assert value not in str(raised.value)
