"""What the runtime itself costs around model and search: HTTP, bearer token, thread and lease, graph, checkpoints, events.

Run: ``python -m benchmarks.bench_runtime overhead streams memory [--backends sqlite postgres]``; smaller counts are options.

The server is `rag serve`'s, in a process of its own, and so is who asks.

- ``overhead``: one answer after another, each the first of a new conversation (`new`) or all in one (`same`), with a model and a search that
  answer at once. Printed is what the client waits, from sending the question to the end of the answer; nothing is subtracted. `server_cpu_ms`
  is the server's processor time for one answer, `health_ms` what a `/health/live` takes, which is HTTP alone.
- ``streams``: 200 conversations at once, by a model of 20 tokens each second in a third process that speaks OpenAI's protocol; each asks
  its next question when it is answered. Sentences leave once they are whole and checked, so that the time between two events is first of all
  the model's: ``gap_ms`` is the time between two events of an answer, ``lateness_ms`` how much later than by the model's pace an event comes, counted
  from the answer's promptest one. Sentences are of four tokens (200 ms), by ``--sentence-tokens``. The ramp-up is left out.
- ``memory``: the server's resident memory before and after 10,000 conversations of one turn each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2

from benchmarks.scripted import PASSAGES, QUESTION, scripted_resources, scripted_settings
from tests.servers.postgres import PostgresServer, server_folder

TOKENS_PER_S = 20.0


# -- the server's process


def serve(options: dict[str, Any]) -> None:
    """The real application over a scripted search, and a scripted model or the one at ``model``."""
    from pydantic import SecretStr

    from src.api.app import create_app
    from src.cli.serve import bind, event_loop, make_server
    from src.infra.config import AgentCfg, ChatCfg
    from src.telemetry.logger import setup_logging

    setup_logging("WARNING")
    settings, token = scripted_settings(Path(options["folder"]), options["dsn"], pool_size=options["pool"])
    if options["model"]:
        chat = ChatCfg(provider="openai", model="scripted", api_base=options["model"], api_key=SecretStr("none"), max_output_tokens=4096)
        settings = settings.model_copy(update={"chat": chat, "agent": AgentCfg(verify=options["verify"], rewrite="rules")})
    resources = scripted_resources(settings, own_model=bool(options["model"]))
    listener = bind(settings.api)
    announced = json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}", "token": token})
    server = make_server(create_app(resources), lambda: print(announced, flush=True))
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(server.serve(sockets=[listener]))


# -- the model's process


def speak(sentence_tokens: int, sentences: int) -> None:
    """OpenAI's chat completions, streamed: sentences of so many tokens, the last one with the mark of its passage, twenty tokens each second."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
                await reader.readexactly(length)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                await _stream(writer, sentence_tokens, sentences)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        print(json.dumps({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"}), flush=True)
        await server.serve_forever()

    asyncio.run(main())


async def _stream(writer: asyncio.StreamWriter, sentence_tokens: int, sentences: int) -> None:
    words = [text.rstrip(".").split() for text in PASSAGES]
    due = time.perf_counter()
    for number in range(sentences):
        place = number % len(PASSAGES)
        tokens = words[place][: sentence_tokens - 1]
        for text in [*(f"{word} " for word in tokens), f"[{place + 1}]. "]:
            due += 1 / TOKENS_PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            _send(writer, {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
    _send(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    _chunk(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _send(writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
    _chunk(writer, b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "scripted", **body}).encode() + b"\n\n")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


# -- who asks


@dataclass
class Running:
    url: str
    token: str
    pid: int

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def child(*words: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Another process of this file, and the line it says first."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.bench_runtime", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline()), process.pid
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def server(dsn: str | None, model: str | None = None, verify: str = "sentence", pool: int = 10) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        options = {"folder": folder, "dsn": dsn, "model": model, "verify": verify, "pool": pool}
        with child("--serve", json.dumps(options)) as (said, pid):
            yield Running(said["url"], said["token"], pid)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)


async def overhead(running: Running, answers: int) -> dict[str, Any]:
    async with httpx2.AsyncClient(base_url=running.url, headers=running.headers, timeout=60, trust_env=False) as client:

        async def asked(thread_id: str | None) -> tuple[float, str]:
            begun = time.perf_counter()
            response = await client.post("/v1/chat", json={"message": QUESTION, **({"thread_id": thread_id} if thread_id else {})})
            took = (time.perf_counter() - begun) * 1000
            assert response.status_code == 200, response.text
            assert not response.json()["refused"], response.text
            return took, response.json()["thread_id"]

        async def health() -> float:
            begun = time.perf_counter()
            assert (await client.get("/health/live")).status_code == 200
            return (time.perf_counter() - begun) * 1000

        for _ in range(20):
            await asked(None)
        _, thread_id = await asked(None)
        found: dict[str, Any] = {"answers": answers}
        for name, same in (("new", None), ("same", thread_id)):
            cpu = running.cpu_s()
            times = [(await asked(same))[0] for _ in range(answers)]
            used = (running.cpu_s() - cpu) * 1000 / answers
            found |= {f"{name}_p50_ms": percentile(times, 0.5), f"{name}_p95_ms": percentile(times, 0.95), f"{name}_server_cpu_ms": round(used, 2)}
        return found | {"health_ms": percentile([await health() for _ in range(50)], 0.5)}


async def memory(running: Running, conversations: int) -> dict[str, Any]:
    async with httpx2.AsyncClient(base_url=running.url, headers=running.headers, timeout=60, trust_env=False) as client:

        async def some(number: int) -> None:
            for _ in range(number):
                assert (await client.post("/v1/chat", json={"message": QUESTION})).status_code == 200

        async def several(number: int) -> None:
            await asyncio.gather(*(some(number // 8) for _ in range(8)))

        await several(min(1000, conversations))
        before = running.resident()
        await several(conversations)
        return {"conversations": conversations, "before_mb": round(before / 1e6, 1), "grown_mb": round((running.resident() - before) / 1e6, 2)}


# -- streams


@dataclass
class Seen:
    """Of one event: milliseconds since the one before in its answer, and since the model's pace had it due."""

    at: float
    gap: float
    late: float


@asynccontextmanager
async def stream_of(running: Running, thread_id: str | None) -> AsyncIterator[asyncio.StreamReader]:
    """An event stream by hand: two hundred of them must cost the asking process little."""
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"message": QUESTION, "stream": True, **({"thread_id": thread_id} if thread_id else {})})
    writer.write(
        f"POST /v1/chat HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {running.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    )
    try:
        yield reader
    finally:
        writer.close()


async def converse(running: Running, until: float, pace_ms: float, seen: list[Seen]) -> int:
    """Ask, read the answer's events, ask again; returns the number of answers."""
    thread_id, answers = None, 0
    while time.perf_counter() < until:
        async with stream_of(running, thread_id) as reader:
            tokens: list[float] = []
            name = b""
            async for line in reader:
                if line.startswith(b"event: "):
                    name = line[7:].strip()
                elif line.startswith(b"data: ") and name == b"token":
                    tokens.append(time.perf_counter())
                elif line.startswith(b"data: ") and name == b"done":
                    thread_id = json.loads(line[6:])["thread_id"]
                elif name == b"error":
                    raise RuntimeError(line.decode())
        answers += 1
        # The earliest event, as the pace has it, is the measure of the others: the model keeps its pace to the millisecond.
        base = min((at - place * pace_ms / 1000 for place, at in enumerate(tokens)), default=0.0)
        for place, at in enumerate(tokens):
            gap = (at - tokens[place - 1]) * 1000 if place else 0.0
            seen.append(Seen(at, gap, (at - base) * 1000 - place * pace_ms))
    return answers


async def streams(running: Running, conversations: int, seconds: float, ramp_s: float, sentence_tokens: int) -> dict[str, Any]:
    seen: list[Seen] = []
    await converse(running, time.perf_counter() + 0.1, 1.0, [])  # what is loaded for the first answer is no part of the rest
    begun = time.perf_counter()
    pace_ms = sentence_tokens / TOKENS_PER_S * 1000

    async def late(number: int) -> int:
        await asyncio.sleep(ramp_s * number / conversations)
        return await converse(running, begun + ramp_s + seconds, pace_ms, seen)

    async def cores() -> float:
        await asyncio.sleep(ramp_s)
        before = running.cpu_s()
        await asyncio.sleep(seconds)
        return (running.cpu_s() - before) / seconds

    cpu, *counts = await asyncio.gather(cores(), *(late(number) for number in range(conversations)))
    steady = [one for one in seen if begun + ramp_s < one.at < begun + ramp_s + seconds]
    gaps = [one.gap for one in steady if one.gap]
    lateness = [one.late for one in steady]
    return {
        "conversations": conversations,
        "answers": sum(counts),
        "events_per_s": round(len(steady) / seconds),
        "model_pace_ms": pace_ms,
        **{f"gap_ms_p{share}": percentile(gaps, share / 100) for share in (50, 99, 99.9)},
        **{f"lateness_ms_p{share}": percentile(lateness, share / 100) for share in (50, 99, 99.9)},
        "server_cores": round(cpu, 2),
        "server_cpu_ms_per_token": round(cpu * 1000 / (len(steady) / seconds * sentence_tokens), 3),
    }


# -- all of it


def run(what: str, dsn: str | None, options: argparse.Namespace) -> dict[str, Any]:
    if what == "streams":
        words = ("--speak", json.dumps([options.sentence_tokens, options.sentences]))
        with child(*words) as (model, _), server(dsn, model["url"], options.verify, pool=20) as running:
            return asyncio.run(streams(running, options.conversations, options.seconds, options.ramp, options.sentence_tokens))
    with server(dsn) as running:
        return asyncio.run(overhead(running, options.answers) if what == "overhead" else memory(running, options.threads))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["overhead", "streams", "memory"])
    parser.add_argument("--backends", nargs="+", choices=["sqlite", "postgres"], default=["sqlite", "postgres"])
    parser.add_argument("--answers", type=int, default=300)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="of streaming, after the ramp-up")
    parser.add_argument("--ramp", type=float, default=20.0, help="seconds in which the conversations begin, one after the other")
    parser.add_argument("--sentence-tokens", type=int, default=4)
    parser.add_argument("--sentences", type=int, default=30, help="of one answer")
    parser.add_argument("--verify", choices=["sentence", "after", "off"], default="sentence")
    parser.add_argument("--threads", type=int, default=10_000)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--speak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(json.loads(options.serve))
        return
    if options.speak:
        speak(*cast("list[int]", json.loads(options.speak)))
        return
    for what in options.what:
        if "sqlite" in options.backends:
            print(json.dumps({"what": what, "backend": "sqlite", **run(what, None, options)}), flush=True)
        if "postgres" in options.backends:
            with server_folder() as folder, PostgresServer(folder / "server", settings={"fsync": "on"}).running() as database:
                print(json.dumps({"what": what, "backend": "postgres", **run(what, database.dsn(database.database()), options)}), flush=True)


if __name__ == "__main__":
    main()
