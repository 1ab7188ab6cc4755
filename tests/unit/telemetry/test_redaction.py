from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.telemetry.redaction import Policy, redact, redact_part, redact_value
from src.util.patterns import Places

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\nq8Zw==\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

# The canary, and the text it is planted as.
SECRETS = {
    "hunter2!x": [
        "password=hunter2!x",
        "pwd: hunter2!x",
        "my password is hunter2!x",
        "PASSWORD IS: hunter2!x",
        "pw: hunter2!x",
        "Password = 'hunter2!x'",
        'db_password: "hunter2!x"',
        "passwords: hunter2!x",
        "credentials=hunter2!x",
        "secrets: hunter2!x",
        "jwt: hunter2!x",
        "passwd hunter2!x",
        "<password>hunter2!x</password>",
        "<db:client-secret kind='a'>hunter2!x</db:client-secret>",
        "curl -s -u bob:hunter2!x https://host/",
        "--password hunter2!x",
    ],
    "s3cr3t-pa55": [
        "https://user:s3cr3t-pa55@host/path",
        "postgresql://app:s3cr3t-pa55@db:5432/rag",
        "redis://:s3cr3t-pa55@cache:6379/0",
        "Server=db;Uid=sa;Pwd=s3cr3t-pa55;Encrypt=yes",
        "host=db user=app password=s3cr3t-pa55 dbname=rag",
    ],
    "p@ss/w0rd:x": ["amqp://u:p@ss/w0rd:x@host:5672/"],
    "k3y-0f-the-house": [
        "api_key=k3y-0f-the-house",
        '{"apiKey": "k3y-0f-the-house", "n": 1}',
        '{\\"api_key\\": \\"k3y-0f-the-house\\"}',
        "{'client_secret': 'k3y-0f-the-house'}",
        "('x-api-key', 'k3y-0f-the-house')",
        "[(b'Ocp-Apim-Subscription-Key', b'k3y-0f-the-house')]",
        "Authorization: Bearer k3y-0f-the-house",
        "(b'authorization', b'Bearer k3y-0f-the-house')",
        "{'Authorization': 'Basic k3y-0f-the-house'}",
        "got Bearer k3y-0f-the-house from it",
        "Set-Cookie: session=k3y-0f-the-house; Path=/",
        "GET /x?token=k3y-0f-the-house&y=1",
        "https://a.blob.core.windows.net/c?sv=2024&sig=k3y-0f-the-house",
        "AccountName=x;AccountKey=k3y-0f-the-house;EndpointSuffix=core",
        "export AWS_SECRET_ACCESS_KEY=k3y-0f-the-house",
    ],
    "AKIAIOSFODNN7EXAMPLE": ["AKIAIOSFODNN7EXAMPLE"],
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a": ["ghp_16C7e42F292c6912E7710c838347Ae178B4a"],
    "sk-proj-abcdefghij0123456789": ["sk-proj-abcdefghij0123456789"],
    "xoxb-1234567890-abcdef": ["xoxb-1234567890-abcdef"],
    "eyJzdWIiOiIxIn0": [JWT],
    "MIIEowIBAAKCAQEA7": [PEM, PEM[:60], PEM.replace("\n", "\\n")],
}
OTHERS = {
    "email": ["ann.o'neil+bills@example.co.uk", "m\u00fcller@b\u00fccher.de", "x_1@sub.example.museum", "ann%40example.com"],
    "card": [
        "4111111111111111",
        "4111 1111 1111 1111",
        "5500-0000-0000-0004",
        "3782 822463 10005",
        "6011000990139424",
        "3530111333300000",
        "4111.1111.1111.1111",
        "3782  822463  10005",
    ],
    "account": ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "fr14 2004 1010 0505 0001 3m02 606", "078-05-1120", "account number 12345678"],
    "phone": [
        "+1 (555) 123-4567",
        "(555) 123-4567",
        "555-123-4567",
        "555.123.4567",
        "555 123 4567",
        "1-800-555-0199",
        "+44 20 7946 0958",
        "+493012345678",
        "0049 30 901820",
        "020 7946 0958",
        "01 23 45 67 89",
        "phone: 5551234567",
    ],
}
PLANTED = [(canary, text, "secret") for canary, texts in SECRETS.items() for text in texts]
PLANTED += [(text.rpartition("number ")[2].rpartition("phone: ")[2], text, kind) for kind, texts in OTHERS.items() for text in texts]

ORDINARY = (
    """
$1,234.56|1 234 567,89 EUR|\u20ac19.99|1.234.567,00|100000000|12,345,678 kWh
2024-06-01|01.06.2024|06/01/2024|2024-06-01T12:30:11.123Z|12:30:11|2024-06-01 12:30:11,123|20240601|1717236611|1717236611123|1717236611123456789
meter reading 012345.6 kWh|reading 0123456|reading 00123456 on 01.02.2024|1045 kWh|15 000 kWh in 2023|voltage 230 V, 50 Hz|215 220 1034 kWh
1.20.3|v2.2.366|python 3.11.9|2026.11.15|1.0.0-rc.1+build.5|10.2.1.4|192.168.1.100|10.0.0.0/8|2001:db8::1|127.0.0.1:9200
took_ms=31.5 chunks=12 tokens=4096 max_tokens=512 prompt_tokens: 100|page 12 of 345|section 4.2.1|table 7-12|pp. 100-120|ISBN 978-3-16-148410-0
4111111111111112|1234567890123456|550e8400-e29b-41d4-a716-446655440000|9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
order 4500012345|invoice 2024-00123|case #12345|part 123-456|EN 50160-2|ISO 27001:2022|DE89370400440532013001|123-00-1234|000-12-3456
the bearer of bad news|basic understanding|a token of thanks|secretary: Ann|passwords are required|password is required
pin the page|Is it @home?|@param x|10 @ 5.00
git@|a@b|user@localhost|key value store|the key: see above|keyboard|http://host:8080/@me|https://example.com:443/path?page=2|setting api.token from default
-12.5 \u00b0C|3 x 4 = 12|50-60 Hz|1/2 1/3 0.25|0.4111111111111111|555-1234|100 200 300|24/7|9-5|0800 hours
next_token=abc|page_token: abc|nextPageToken=abc|total_tokens=12|pin: the metal one|signature=missing|api_key: missing|api_key='missing'|host key: unchanged
connection string: see documentation|authorization: required|password: not set|the passwd file changed|docker run -u 1000:1000
call 1234567 took 3 ms|mobile 2000000 users|account 100000 kWh|+48.13743 +11.57549|0800-1700 daily|token count=12|token limit 4096|2023/24|Q3 2024
""".strip()
    .replace("\n", "|")
    .split("|")
)


@given(st.sampled_from(PLANTED), st.text(max_size=30), st.text(max_size=30))
def test_a_planted_canary_is_never_left_wherever_it_stands(planted: tuple[str, str, str], before: str, after: str) -> None:
    canary, text, _ = planted
    for whole in (text, f"{before} {text}", f"{text} {after}", f"{before} {text} {after}", f"{before}\n{text}\n{after}", f"\u300c{text}\u300d", f"({text})"):
        assert canary not in redact(whole)


@given(st.lists(st.sampled_from(PLANTED), min_size=2, max_size=3), st.sampled_from([" ", ", ", "\n", " | ", "\t", "  "]))
def test_one_beside_another_hides_neither(planted: list[tuple[str, str, str]], between: str) -> None:
    shown = redact(between.join(text for _, text, _ in planted))
    assert [canary for canary, *_ in planted if canary in shown] == []


@given(st.text(max_size=40), st.lists(st.sampled_from([text for _, text, _ in PLANTED]), max_size=4), st.sampled_from([" ", ", ", "\n", "; ", " | "]))
def test_redacting_again_changes_nothing(text: str, planted: list[str], between: str) -> None:
    once = redact(between.join([text, *planted, text]))
    assert redact(once) == once


@pytest.mark.parametrize(("canary", "text", "kind"), PLANTED, ids=range(len(PLANTED)))
def test_what_stands_instead_says_what_it_was(canary: str, text: str, kind: str) -> None:
    assert f"[redacted:{kind}]" in redact(text)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_numbers_and_words_stay_as_they_are(text: str) -> None:
    assert redact(text) == text
    assert redact(f"see {text}, please") == f"see {text}, please"


FULL_WIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


@pytest.mark.parametrize("text", [text for kind in ("card", "account", "phone", "email") for text in OTHERS[kind] if text.isascii()])
@pytest.mark.parametrize("other", [lambda text: text.translate(FULL_WIDTH), "\u200b".join, lambda text: text.replace("-", "\u2011").replace(" ", "\u00a0")])
def test_other_forms_of_the_same_characters_hide_nothing(text: str, other: object) -> None:
    assert callable(other)
    shown = other(text)
    assert "[redacted:" in redact(f"\u00fc {shown} \u00df")
    assert shown not in redact(f"\u00fc {shown} \u00df")


def test_digits_of_other_scripts_are_digits() -> None:
    assert redact("4111 1111 1111 1111".translate(ARABIC)) == "[redacted:card]"


def test_what_is_left_can_still_be_read() -> None:
    assert redact("mail ann@example.com, or +44 20 7946 0958.") == "mail [redacted:email], or [redacted:phone]."
    assert redact('{"api_key": "abc", "n": 1}') == '{"api_key": "[redacted:secret]", "n": 1}'
    assert redact("postgresql://app:pw@db:5432/rag") == "postgresql://[redacted:secret]@db:5432/rag"
    assert redact("card 4111 1111 1111 1111 2024") == "card [redacted:card] 2024"


def test_a_jwt_is_found_behind_other_letters_and_many_beginnings_are_read_once() -> None:
    assert redact(f"x_{JWT} y") == "x_[redacted:secret] y"
    assert redact(f"a.b.{JWT}") == "a.b.[redacted:secret]"
    many = "eyJ" * 50_000
    assert redact(many) == many


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize(
    "prefix", ["ghp_", "sk-", "glpat-", "xoxb-", "AIza", "hf_", "npm_", "hvs.", "rag_", "gsk_", "xai-", "nvapi-", "glsa_", "ATATT3x", "dckr_pat_"]
)
def test_a_key_of_letters_alone_is_one(prefix: str) -> None:
    assert redact(f"{prefix}{LETTERS}") == "[redacted:secret]"


@pytest.mark.parametrize("key", ["AKIA" + LETTERS[26:42], "dop_v1_" + "a" * 64, "shpat_" + "a" * 32, "r8_" + LETTERS[:37], "tskey-auth-" + LETTERS])
def test_keys_of_known_makers_are_found(key: str) -> None:
    assert redact(key) == "[redacted:secret]"


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "secret") for name in ("passwords", "credentials", "cookies", "jwt", "x-api-key", "Ocp-Apim-Subscription-Key", "access_token")]
    + [
        ("phone", "phone"),
        ("mobile_number", "phone"),
        ("account_number", "account"),
        ("accountNumber", "account"),
        ("ssn", "account"),
        ("card_number", "card"),
    ],
)
def test_a_field_named_for_what_is_private_is_that_whatever_its_value(name: str, kind: str) -> None:
    assert redact_value(["abc"], name) == redact_value("abc", name) == f"[redacted:{kind}]"
    assert redact_value([(name, "abc"), ("accept", "x")]) == [[name, f"[redacted:{kind}]"], ["accept", "x"]]
    assert redact_value((name.encode(), b"abc")) == [name, f"[redacted:{kind}]"]


def test_a_user_and_a_password_as_http_clients_take_them() -> None:
    assert redact_value(("bob", "abc"), "auth") == ["bob", "[redacted:secret]"]
    assert redact_value("oidc", "auth") == "oidc"


FIELD = st.sampled_from([text for _, text, _ in PLANTED])
NESTED = st.recursive(FIELD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "text", "n"]), inner, max_size=3), max_leaves=6)


@given(NESTED)
def test_no_canary_is_left_in_a_field_however_deep(value: object) -> None:
    shown = str(redact_value(value))
    assert not [canary for canary, *_ in PLANTED if canary in shown and canary in str(value)]


@pytest.mark.parametrize(
    "name", ["password", "db_password", "api_key", "apiKey", "client_secret", "Authorization", "token", "headers.authorization", "private_key", "Set-Cookie"]
)
def test_a_field_with_the_name_of_a_secret_is_one_whatever_its_value(name: str) -> None:
    assert redact_value("abc", name) == redact_value(12, name) == "[redacted:secret]"
    assert redact_value({name.rpartition(".")[2]: ["abc"]}) != {name: ["abc"]}
    assert "abc" not in str(redact_value({"deep": [{name: "abc"}]}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", 12),
        ("max_tokens", 4096),
        ("chunks", 4111),
        ("took_ms", 31.5),
        ("document", "a/b.pdf"),
        ("flag", True),
        ("none", None),
        ("next_token", "abc"),
        ("api_key", "missing"),
    ],
)
def test_figures_and_names_stay_as_they_are(name: str, value: object) -> None:
    assert redact_value(value, name) is value or redact_value(value, name) == value


def test_a_number_that_is_a_card_is_redacted_as_a_number_too() -> None:
    assert redact_value(4111111111111111, "n") == "[redacted:card]"


def test_beyond_a_depth_what_is_left_is_redacted_as_text() -> None:
    value: object = "password=hunter2!x"
    for _ in range(50):
        value = [value]
    assert "hunter2" not in str(redact_value(value))


def test_a_long_run_of_groups_is_looked_through_to_its_end() -> None:
    run = "4-" * 20_000
    assert redact(run) == run
    assert redact(f"{run}4111-1111-1111-1111").endswith("-[redacted:card]")


def test_a_card_is_found_within_a_run_of_other_groups() -> None:
    assert redact("1 2 3 4111 1111 1111 1111 4 5") == "1 2 3 [redacted:card] 4 5"
    assert redact("4111-1111-1111-1111-" * 3) == "[redacted:card]-[redacted:card]-[redacted:card]-"


def test_own_patterns_are_redacted_under_their_names() -> None:
    policy = Policy((("customer", Places("C-[0-9]{4,8}").of),))
    assert policy.redact("of C-12345 and C\u200b-99999: ann@example.com") == "of [redacted:customer] and [redacted:customer] [redacted:email]"


def test_a_text_that_is_cut_holds_no_half_of_a_canary() -> None:
    for length in range(80, 110):
        shown = redact_part(f"{'x' * 80} 4111 1111 1111 1111", length)
        assert "4111" not in shown
        assert len(shown) <= length
