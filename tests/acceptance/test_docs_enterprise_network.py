"""The walk of docs/enterprise-network.md, typed as it stands there; and the command that it begins with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import clean_environment
from tests.emulators.__main__ import PORT
from tests.emulators.breaks import BREAKS
from tests.emulators.company import Company

FOLDER = ".cache/emulators"


def blocks(root: Path) -> list[tuple[str, list[str]]]:
    """The fenced commands of the walk, in order, each with the lines that the page shows of what it prints."""
    page = (root / "docs" / "enterprise-network.md").read_text(encoding="utf-8")
    walk = page.split("\n## A walk through a company's network\n")[1].split("\n## ")[0]
    found: list[tuple[str, list[str]]] = []
    for kind, text in re.findall(r"^```(sh|text)\n(.*?)^```$", walk, re.DOTALL | re.MULTILINE):
        if kind == "sh":
            found.append((text, []))
        else:
            found[-1][1].extend(text.splitlines())
    return found


def test_the_first_command_starts_what_the_walk_asks_for(root: Path) -> None:
    first, *rest = (commands for commands, _ in blocks(root))
    assert first == "make emulators\n"
    assert f"proxy = http://127.0.0.1:{PORT}\n" in "".join(rest)
    assert re.search(r"^emulators:.*\n\t@\$\(BIN\)/python -m tests.emulators \$\(ARGS\)$", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_walk_works_word_for_word(root: Path, tmp_path: Path) -> None:
    for name, place in {"examples": root / "examples", ".venv": Path(sys.prefix)}.items():
        (tmp_path / name).symlink_to(place)
    _, *rest = blocks(root)
    environment = clean_environment() | {"RAG_LOGGING__LEVEL": "WARNING", "PATH": os.environ["PATH"]}
    with Company(tmp_path / FOLDER).running() as company:
        # Only the proxy's port is replaced, for that of the page may be taken. After each block its exit code, on a line that nothing else prints.
        script = "".join(f"{commands}echo '=== ' $?\n" for commands, _ in rest).replace(f":{PORT}", f":{company.proxy.port}")
        command = ["bash", "-u", "-c", script]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=240,
            env=environment,
        )
        assert company.direct == 0
    *printed, end = re.split(r"^===  (\d+)\n", done.stdout, flags=re.MULTILINE)
    assert (end, len(printed)) == ("", 2 * len(rest)), done.stdout[-3000:]
    for (commands, shown), output, code in zip(rest, printed[::2], printed[1::2], strict=True):
        assert code == ("1" if any("FAILED" in line for line in shown) else "0"), f"{commands}\n{output}"
        for line in shown:
            assert line in output, f"{commands}\n{output}"
    assert "26 days" in printed[-2]


@pytest.mark.parametrize("way", ["", "429"])
def test_the_emulators_end_in_order_on_ctrl_c(way: str, root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.emulators", "--folder", str(tmp_path / "company"), "--port", "0", "--break", way]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if "Ctrl-C ends it" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "Tunnels: none. Refused by the proxy: 0. Connections round it: 0.\n"), told
    assert (tmp_path / "company" / "config.ini").read_text(encoding="utf-8") in told
    assert (f"Broken: {BREAKS[way].means}." in told) if way else ("Broken" not in told)
