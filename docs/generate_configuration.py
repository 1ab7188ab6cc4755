"""Writes docs/configuration.md from the settings models: ``.venv/bin/python docs/generate_configuration.py [--check]``.

With ``--check`` nothing is written, and the exit code is 1 where the committed page is not current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
sys.path.insert(0, str(ROOT))

from docs.page import keep  # noqa: E402 - found through the path above, from any folder
from src.infra.config import Settings  # noqa: E402 - as above
from src.infra.configuring.profiles import PROFILES  # noqa: E402 - as above
from src.infra.configuring.schema import FieldSpec, display, keys_of, schema  # noqa: E402 - as above

INTRODUCTION = """\
<!-- Written by docs/generate_configuration.py from src/infra/config/. Do not edit; run the script. -->
# Configuration

Nothing needs to be configured: the packaged `config.ini` runs everything embedded. `rag config explain` prints what is set and
by whom, `rag config explain SECTION.KEY` all about one key, `rag config validate` everything that is wrong, all at once, and
`rag config init` writes a first file. [config-commands.md](config-commands.md) shows each command with what it prints.

## Where values come from

The first of these that sets a key wins:

1. **Overrides** of the program: `load_settings(overrides={"search.host": "..."})`.
2. **Environment**: `RAG_SECTION__KEY`, such as `RAG_SEARCH__HOST`, in any case. `CLOUD_PROFILE` also sets
   `[environment] cloud_profile`; `RAG_ENVIRONMENT__CLOUD_PROFILE` wins over it.
3. **Secret files**: the folder that `RAG_SECRETS_DIR` names holds one file a key, `search__password` or
   `RAG_SEARCH__PASSWORD`, as Docker and Kubernetes mount secrets. No folder is read unless it is named. Hidden files, files
   without `__` in their name and files whose section is like none of ours are left alone; white space around the content is cut off.
4. **Files**: `--config` (may be repeated), else `RAG_CONFIG` (several with `:` between them), else `./config.ini`, else the
   packaged default. Later files win over earlier ones. Of a folder the `.ini`, `.yaml`, `.yml` and `.json` files are read, in
   the order of their names. A file of any other name is read as INI.
5. The **profile** that `[environment] cloud_profile` names.
6. **Variables that all programs share**, only with `[network] trust_env = true`, and only for what nothing above sets:
   `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` (none of them where a proxy is configured), `NO_PROXY`, and the first of
   `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` and `SSL_CERT_DIR`, which replaces the system's authorities. The
   spelling in small letters comes first.
7. The **default** of the key.

## How values are written

- Truth values: `true`, `false`, `yes`, `no`, `on`, `off`, `1`, `0`. Lists: separated by commas, or a JSON list of texts
  (in YAML and JSON files also lists).
  An empty value unsets an optional key and empties a list; for any other key it is an error.
- `${VAR}` in a file takes an environment variable, `${VAR:default}` has a default, which may be empty and holds no braces. A
  variable that is missing is an error, unless a higher layer sets the key. `$${` is a plain `${`; any other `$` is itself.
- INI is read as Python's `configparser` does with interpolation off: `key = value` or `key: value`, deeper indented lines
  continue a value, `#` and `;` start a comment **at the start of a line only**, because passwords and addresses may hold them.
- YAML scalars stay as they are written: `api_version: 2024-06-01` is that text, not a date. Anchors, aliases and merge keys
  (`<<`) work.
- `~` at the start of a path is the home folder.
- Files are UTF-8, with or without a byte order mark. A section or a key that stands twice in a file is an error.
- Unknown sections and keys, also of `RAG_SECTION__KEY` variables and secret files, are errors that name the nearest known key.
- Keys of type *secret text* are shown as `**********`, and never stand in an error; of a proxy's address, user and password.
"""

INTENT_INTRODUCTION = """\
### `[intent:NAME]`

A rule for questions of one kind: how they are recognised, and what they change about the search. Any number of sections, each
with a name of small letters, digits, `-` and `_`. The rule that fits a question best applies: one whose pattern is found in it
before one that has an example like it, a longer example before a shorter one, then by name. What the request itself asks for
outranks the rule. The response's `intent` says which rule applied and what it changed. Items of lists stand one a line, because
they hold commas. An environment variable of such a key has a colon in its name, which a shell cannot export; use a file.

```ini
[intent:procedure]
pattern = ^(how (do|can|should) (i|we)|what are the steps)\\b
examples =
    how do I
    what is the procedure for
boosts =
    kind=procedure ^0.5
    status=withdrawn ^-1

[intent:error-code]
pattern = \\b[A-Z]{2,4}-\\d{3,5}\\b
mode = bm25
```

Examples are compared by words, small words included: a question fits if it has four fifths of an example's words (by weight:
words of content count twice) close together. A boost moves a hit that passes its filter by the weight times the standard
deviation of the scores of the best 100 hits, on either engine; it leaves nothing out.
"""

PROFILE_INTRODUCTION = """
## Profiles

A profile is a named set of defaults. Add your own, or add to these, with a section `[profile:NAME]` in a configuration file;
its keys are written `section.key = value`.

```ini
[environment]
cloud_profile = acme
[profile:acme]
chat.provider = azure
chat.api_base = https://openai.acme.example
network.proxy = http://proxy.acme.example:8080
```
"""


def render() -> str:
    """The page."""
    lines = [INTRODUCTION, "## Sections and keys", ""]
    for section, specs in schema().items():
        lines += [f"### `[{section}]`", "", *_about(section), "| Key | Type | Default | Meaning |", "|---|---|---|---|"]
        lines += [_row(spec) for spec in specs.values()]
        lines.append("")
    rule = [INTENT_INTRODUCTION, "| Key | Type | Default | Meaning |", "|---|---|---|---|", *(_row(spec) for spec in (keys_of("intent:name") or {}).values())]
    return "\n".join(lines + rule).rstrip() + "\n" + PROFILE_INTRODUCTION + "\n".join(_profiles()) + "\n"


def _about(section: str) -> Iterator[str]:
    _, _, text = (Settings.model_fields[section].annotation.__doc__ or "").partition(":")
    words = " ".join(text.split())
    if words:
        yield words[0].upper() + words[1:]
        yield ""


def _row(spec: FieldSpec) -> str:
    default = f"`{display(spec.default)}`" if display(spec.default) else "–"
    cells = (f"`{spec.key}`", spec.type_words, default, spec.description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _profiles() -> Iterator[str]:
    for name, values in PROFILES.items():
        yield f"\n### `{name}`\n"
        yield "The defaults as they are." if not values else "```ini"
        yield from (f"{key} = {value}" for key, value in values.items())
        if values:
            yield "```"


if __name__ == "__main__":
    sys.exit(keep(PAGE, render(), sys.argv))
