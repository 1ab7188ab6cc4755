"""Writes docs/config-commands.md: ``.venv/bin/python docs/generate_config_commands.py [--check]``.

The page is the text below; each block that begins with `$ ` is run, in a folder of its own, and followed by what it printed.
With ``--check`` nothing is written, and the exit code is 1 where the committed page is not current.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "config-commands.md"
FOLDER = "/srv/rag"
sys.path.insert(0, str(ROOT))

from docs.page import keep  # noqa: E402 - found through the path above, from any folder
from src.cli.main import main as rag  # noqa: E402 - as above

FILES = {
    "bank.ini": """\
[environment]
cloud_profile = jpmc_azure
[search]
host = https://search.bank.example
username = svc-rag
password = ${SEARCH_PASSWORD}
[azure]
tenant_id = 11111111-2222-3333-4444-555555555555
certificate_path = /run/secrets/rag.pem
""",
    "test.ini": """\
[search]
host = https://search.test.example
username = svc-rag
password = ${TEST_PASSWORD}
timeout_s = 5
[network]
proxy = http://proxy.test.example:8080
""",
}
SECRETS = {"network__proxy_password": "correct-horse"}
ENVIRON = {"SEARCH_PASSWORD": "one", "TEST_PASSWORD": "two", "RAG_SEARCH__TIMEOUT_S": "20"}

TEXT = """\
<!-- Written by docs/generate_config_commands.py, which runs every command of this page. Do not edit; change and run the script. -->
# The configuration, explained by itself

The keys are in [configuration.md](configuration.md). This page shows the commands, with what they print. They ran in `{folder}`, with

{files}

a secret file `network__proxy_password`, and {environ} in the environment. Every command takes `--json`, and `--config` (again, or a
folder: later files win); without it, what `RAG_CONFIG` names counts, else `./config.ini`. Secrets are never printed, not even as a hash.

## What is set, and by whom: `rag config explain`

All keys that something sets, each with its value and the source that won. What lost to it stands below, with the value it would have given:

$ rag config explain --config test.ini --config bank.ini

## All about one key

Write it as you have it at hand: `network.proxy`, `network proxy`, `[network] proxy`, `RAG_NETWORK__PROXY`, in any case. *Read by*
names the modules of this program that use the key; it is found in their source, so it is never out of date. `no module` is said
of keys that wait for a part that is not here yet.

$ rag config explain network proxy --config test.ini --config bank.ini

A proxy's address is shown without user and password. A word that is no key is answered with the nearest:

$ rag config explain timeout

`rag config explain SECTION` lists the keys of a section with what they mean, `--all` every key there is.

## What differs: `rag config diff`

Two files, two folders, or two profiles, as they load here: environment and secret files count for both, defaults are filled in, and the
same value from another place is no difference. The exit code is 0 where nothing differs, 1 where something does, and 2 where one of
them cannot be loaded. Secrets are compared without being shown; those of a vault by the place they come from, for no vault is asked.

$ rag config diff bank.ini test.ini

The name of a profile stands for the configuration that is in force, with that profile. So this is what `jpmc_azure` brings:

$ rag config diff local jpmc_azure --config {empty}

## A first file: `rag config init`

It asks for a start (`embedded`, `opensearch`, `azure`, `bank`), then for the keys that matter to it, then writes a commented file, which
loads. It overwrites nothing without `--force`, and Ctrl-C leaves no file. Secrets are not asked for: the file says which variable or
secret file is to hold each. Without a terminal, options answer:

$ rag config init --profile opensearch --yes --set search.host=https://search.bank.example --set search.username=svc-rag new.ini

$ cat new.ini

`bank` is the network of a bank: Azure OpenAI by client certificate, a proxy with exceptions, OpenSearch on AWS. It starts from the
profile `jpmc_azure`; another bank answers with its own proxy and addresses.

## What editors know: `rag config schema`

JSON Schema (2020-12) of YAML and JSON files, with descriptions, defaults and choices; secrets are `writeOnly`.

$ rag config schema --json | head -c 300

Save it once, `rag config schema > rag.schema.json`, and begin a YAML file with `# yaml-language-server: $schema=rag.schema.json`.

## Is it right: `rag config validate`

It lists everything that is wrong, all at once, with file and line; the exit code is 2 then.

$ rag config validate --config test.ini
"""


def render() -> str:
    """The page."""
    files = "\n".join(f"`{name}`\n\n```ini\n{text}```\n" for name, text in FILES.items())
    environ = ", ".join(f"`{name}`" for name in ENVIRON)
    text = TEXT.replace("{folder}", FOLDER).replace("{files}", files.rstrip()).replace("{environ}", environ).replace("{empty}", "empty.ini")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "secrets").mkdir()
        for file, content in (*FILES.items(), ("empty.ini", ""), *((f"secrets/{secret}", word) for secret, word in SECRETS.items())):
            (folder / file).write_text(content, encoding="utf-8")
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("RAG_", "AZURE_", "AWS_")) and key not in ("CLOUD_PROFILE", "JPMC_USER_SID")
        }
        with chdir(folder), patch.dict(os.environ, clean | ENVIRON | {"RAG_SECRETS_DIR": str(folder / "secrets")}, clear=True):
            return re.sub(r"^\$ (.+)$", lambda found: _block(found.group(1), folder), text, flags=re.MULTILINE)


def _block(command: str, folder: Path) -> str:
    """A command and what it prints, with its exit code where that is not 0."""
    words = shlex.split(command.partition(" | ")[0])
    if words[0] == "cat":
        printed, code = Path(words[1]).read_text(encoding="utf-8"), 0
    else:
        done = CliRunner().invoke(rag, words[1:], prog_name="rag")
        printed, code = done.output, done.exit_code
    if "| head -c" in command:
        printed = printed[: int(command.rpartition(" ")[2])] + "...\n"
    lines = [line.rstrip() for line in printed.replace(str(folder), FOLDER).splitlines()]
    return "\n".join(("```console", f"$ {command}", *lines, *([f"(exit code {code})"] if code else []), "```"))


if __name__ == "__main__":
    sys.exit(keep(PAGE, render(), sys.argv))
