"""The examples of docs/api.md, run as they stand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def test_every_example_of_the_documentation_works(handbook_server: Any, root: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    text = (root / "docs" / "api.md").read_text(encoding="utf-8")
    examples = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    # --fail-with-body turns a status over 399 into an exit code; /tmp gives way to the test's own folder.
    script = "\n".join(examples).replace("curl ", "curl --fail-with-body ").replace("/tmp/", f"{tmp_path}/")
    script = script.replace("http://127.0.0.1:8000", handbook_server.url)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    assert len(examples) >= 9
    assert (tmp_path / "original.txt").read_text() == (tmp_path / "muster.txt").read_text()


def test_every_endpoint_is_documented(handbook_server: Any, root: Path) -> None:
    with handbook_server.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    text = (root / "docs" / "api.md").read_text(encoding="utf-8")
    for path, methods in paths.items():
        plain = path.replace("{document_id}", "{id}").replace("{thread_id}", "$THREAD").replace("{message_id}", "$MESSAGE").replace("{run_id}", "$RUN")
        assert plain in text, path
        for method in methods:
            assert method.upper() in text or method == "get", (method, path)


def test_the_example_of_a_problem_is_what_the_server_sends(handbook_server: Any, root: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", (root / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    with handbook_server.client() as client:
        sent = client.post("/v1/chat", content=b" " * 1_000_001, headers={"content-type": "application/json"}).json()
    known = json.loads(example)
    assert {**sent, "correlation_id": ""} == {**known, "correlation_id": ""}
