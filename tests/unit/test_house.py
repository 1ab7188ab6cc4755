"""The rules of the house that a machine can check: floors, budgets, who reads the environment, what importing costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
FILES = sorted(SRC.rglob("*.py"))

# Ground floor first; a package may import its own floor and those below it.
FLOORS = [
    ["errors", "core", "util", "retrieval.config"],
    ["telemetry"],
    ["infra"],
    ["retrieval"],
    ["ingestion"],
    ["agent"],
    ["evaluation"],
    ["integrations"],
    ["assembly"],
    ["api"],
    ["cli"],
]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
HEAVY_LIBRARIES = "numpy onnxruntime onnx tantivy langgraph langchain_core openai fastapi uvicorn pypdfium2 docx lxml rich requests mcp llama_index"
HEAVY = tuple(HEAVY_LIBRARIES.split(" "))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__").removesuffix("__init__")


def floor_of(module: str) -> int | None:
    names = [(level, name) for level, floor in enumerate(FLOORS) for name in floor]
    dotted = [level for level, name in names if "." in name and (module == name or module.startswith(f"{name}."))]
    return dotted[0] if dotted else next((level for level, name in names if module.split(".")[0] == name), None)


def imports_of(path: Path) -> list[tuple[int, str]]:
    package = path.relative_to(SRC).parent.parts
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            prefix = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found += [(node.lineno, f"{prefix}.{alias.name}".strip(".")) for alias in node.names]
    return found


def size_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    doc = ast.get_docstring(node, clean=False)
    return (node.end_lineno or node.lineno) - node.lineno + 1 - (len(doc.splitlines()) if doc else 0)


def test_imports_run_downhill_only() -> None:
    uphill = []
    for path in FILES:
        here = floor_of(module_of(path))
        for line, target in imports_of(path):
            there = floor_of(target)
            if here is not None and there is not None and there > here:
                uphill.append(f"{path.relative_to(ROOT)}:{line} imports {target}")
    assert not uphill, "\n".join(uphill)


def test_every_module_stands_on_a_floor() -> None:
    assert [module for path in FILES if (module := module_of(path)) and floor_of(module) is None] == []


def test_imports_inside_the_package_are_relative() -> None:
    absolute = [str(path.relative_to(ROOT)) for path in FILES if re.search(r"^\s*(from|import) src\b", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert not absolute


def test_files_and_functions_stay_within_their_budgets() -> None:
    over = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > MAX_FILE_LINES:
            over.append(f"{path.relative_to(ROOT)}: {len(text.splitlines())} lines")
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        over += [f"{path.relative_to(ROOT)}:{f.lineno}: {f.name} is {size_of(f)} lines" for f in functions if size_of(f) > MAX_FUNCTION_LINES]
    assert not over, "\n".join(over)


def test_only_settings_reads_the_environment_and_nobody_writes_it() -> None:
    readers = {path.relative_to(SRC).as_posix() for path in FILES if re.search(r"os\.environ|os\.getenv|os\.putenv", path.read_text(encoding="utf-8"))}
    assert readers <= {"infra/settings.py"}


def test_tls_verification_is_never_switched_off() -> None:
    pattern = re.compile(r"verify(_certs)?\s*=\s*False|CERT_NONE|check_hostname\s*=\s*False")
    assert [str(path.relative_to(ROOT)) for path in FILES if pattern.search(path.read_text(encoding="utf-8"))] == []


def test_every_lint_and_type_exception_gives_its_reason() -> None:
    bare = re.compile(r"#\s*(noqa(:\s*[A-Z0-9, ]+)?|type:\s*ignore(\[[\w, -]+\])?)\s*$")
    lines = [(path, number, line) for path in FILES for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)]
    assert [f"{path.relative_to(ROOT)}:{number}" for path, number, line in lines if bare.search(line)] == []


def tracked_text_files() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    binary = {".pdf", ".docx", ".png", ".onnx"}
    return [path for name in names if name and (path := ROOT / name).suffix not in binary and path.is_file()]


def test_no_committed_file_names_a_package_registry() -> None:
    hosts = ["pypi." + "org", "files.python" + "hosted", "registry.npm" + "js", "repo1." + "maven", "deb." + "debian"]
    named = [str(path.relative_to(ROOT)) for path in tracked_text_files() if any(host in path.read_text(encoding="utf-8", errors="ignore") for host in hosts)]
    assert not named


@pytest.mark.parametrize("statement", ["import src", "import src.cli.main", "from src.infra.resource_manager import ResourceManager, get_resources"])
def test_importing_starts_no_thread_and_loads_no_heavy_library(statement: str) -> None:
    code = f"import sys, threading\n{statement}\nprint([name for name in {HEAVY!r} if name in sys.modules], threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 1"


def test_the_names_that_outside_code_imports_load_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from src.infra.settings import load_settings\n"
        "from src.infra.clients import make_chat_client, make_embed_client, make_search_session\n"
        "from src.infra.opensearch_client import OpenSearchClient\n"
        "from src.infra.resource_manager import get_resources\n"
        "load_settings()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_importing_the_package_reads_no_environment() -> None:
    code = (
        "import os\n"
        "class Loud(dict):\n"
        "    def __getitem__(self, key):\n"
        "        raise AssertionError(f'read {key}')\n"
        "    get = __getitem__\n"
        "os.environ = Loud()\n"
        "import src, src.errors, src.core.search, src.core.chat, src.telemetry.logger, src.infra.resource_manager\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_pins_are_exact_hashed_and_name_no_index(path: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    requirements = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert requirements
    assert [line for line in requirements if not re.match(r"[\w.\-\[\]]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []


def test_processes_that_run_tests_side_by_side_keep_those_of_a_file_together(request: pytest.FixtureRequest) -> None:
    """`--dist loadgroup` has once stopped grouping, and said nothing: each process then starts every server."""
    if request.config.getoption("dist", "no") == "no" and not hasattr(request.config, "workerinput"):
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@tests/unit/test_house.py")
