"""What our clients cost beside the raw `openai` client: through the same CONNECT proxy, over TLS, in one interleaved run.

Run: ``python -m benchmarks.bench_clients [--calls 200]``. Needs no network: Azure OpenAI, Entra ID and the proxy are the tests'
emulators, in a process of their own, so that they do not share our interpreter's lock.

Every figure is paired: each round calls ours and the raw client in random order, so that a machine that drifts, or that others
use as well, hits both alike. ``wall`` is the median of the differences; ``CPU`` is processor time of this process, which
others on the machine move far less. ``CPU`` is the figure to compare between two commits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import numpy as np
import openai
import trustme
from pydantic import SecretStr

from src.infra.azure_auth import AzureTokens, make_token_provider
from src.infra.clients import aclose_client, make_chat_client, make_embed_client
from src.infra.config import AzureCfg, ChatCfg, EmbedCfg, NetworkCfg
from src.infra.network import NetworkPolicy
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.providers.openai_embedder import PARALLEL, OpenAIEmbedder
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator
from tests.emulators.certificates import issue
from tests.emulators.entra import CLIENT, TENANT, EntraEmulator, EntraReply
from tests.emulators.proxy import Proxy

HOST, LOGIN = "openai.company.test", "login.company.test"
VERSION = "2024-06-01"
QUESTION = "What is the tariff?"
DIMS = 1536
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
FETCH_S = 1.0
"""How long Entra takes for the renewal."""


class FixedModel:
    """Answers at once: nobody's time but the clients' is of interest."""

    def __init__(self) -> None:
        self._vector = np.random.default_rng(7).normal(size=DIMS).astype(np.float32).tolist()

    def answer(self, _messages: list[dict[str, Any]]) -> list[str]:
        return ["The ", "tariff ", "is ", "0.31 ", "EUR."]

    def vector(self, _text: str, _dims: int) -> list[float]:
        return cast("list[float]", self._vector)


def serve(folder: Path) -> None:
    """The emulators' process: each line it reads is a command, each line it prints the state after it."""
    authority = trustme.CA()
    identity = issue("rag-server")
    identity.written(folder / "identity.pem")
    entra = EntraEmulator(authority)
    entra.apps[CLIENT].certificates.append(identity.certificate)
    azure = AzureOpenAIEmulator(folder, DIMS, authority, model=FixedModel())
    azure.problem_of = entra.problem_of
    with entra.running(), azure.running(), Proxy("svc-rag", "secret", {f"{HOST}:443": azure.port, f"{LOGIN}:443": entra.port}).running() as proxy:
        print(json.dumps({"proxy": proxy.port}), flush=True)
        for line in sys.stdin:
            if line.startswith("short"):
                entra.expires_in = 10  # renewed when half of it is over, and good for 4 s more: a busy machine takes its time
            elif line.startswith("slow"):
                entra.expires_in = 3600
                entra.script.append(EntraReply(delay_s=FETCH_S))
            print(json.dumps({"tokens": entra.token_requests, "calls": len(azure.requests), "tunnels": len(proxy.asked)}), flush=True)
            azure.requests.clear()


@dataclass
class Bench:
    """The other process, and the policy to reach it."""

    folder: Path
    process: subprocess.Popen[str]
    port: int

    def tell(self, command: str = "state") -> dict[str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return cast("dict[str, int]", json.loads(self.process.stdout.readline()))

    def policy(self) -> NetworkPolicy:
        proxy = SecretStr(f"http://127.0.0.1:{self.port}")
        return NetworkPolicy(NetworkCfg(ca_bundle=self.folder / "ca.pem", proxy=proxy, proxy_username="svc-rag", proxy_password=SecretStr("secret")))

    def raw(self, policy: NetworkPolicy, **credential: Any) -> openai.AsyncAzureOpenAI:
        """As its documentation says: its own HTTP client, with the proxy and the private authority."""
        proxy = httpx2.Proxy(f"http://127.0.0.1:{self.port}", auth=("svc-rag", "secret"))
        http = openai.DefaultAsyncHttpxClient(verify=policy.ssl_context, trust_env=False, proxy=proxy)
        return openai.AsyncAzureOpenAI(azure_endpoint=f"https://{HOST}", api_version=VERSION, http_client=http, **(credential or {"api_key": KEY}))

    @property
    def identity(self) -> AzureCfg:
        return AzureCfg(tenant_id=TENANT, client_id=CLIENT, authority_host=f"https://{LOGIN}", certificate_path=self.folder / "identity.pem")


@contextlib.contextmanager
def emulators() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.bench_clients", "--serve", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            yield Bench(Path(folder), process, json.loads(process.stdout.readline())["proxy"])
            assert process.stdin is not None
            process.stdin.close()


@dataclass(frozen=True, slots=True)
class Took:
    wall_ms: float
    cpu_ms: float


class Watch:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def took(self) -> Took:
        return Took((time.perf_counter() - self._wall) * 1000, (time.process_time() - self._cpu) * 1000)


async def paired(calls: dict[str, Callable[[], Awaitable[Took]]], rounds: int) -> dict[str, list[Took]]:
    """Each round makes every call once, in random order; a few rounds before are not counted."""
    order, found = list(calls), {name: list[Took]() for name in calls}
    for place in range(rounds + 5):
        random.shuffle(order)
        for name in order:
            took = await calls[name]()
            if place >= 5:
                found[name].append(took)
    return found


def median(values: list[float]) -> float:
    return statistics.median(values)


def compare(title: str, ours: list[Took], raw: list[Took], budget: str = "") -> None:
    wall, cpu = (median([getattr(mine, what) - getattr(theirs, what) for mine, theirs in zip(ours, raw, strict=True)]) for what in ("wall_ms", "cpu_ms"))
    p50 = [median([took.wall_ms for took in found]) for found in (ours, raw)]
    print(f"| {title} | {p50[0]:.2f} | {p50[1]:.2f} | {wall:+.2f} | {cpu:+.2f} | {budget} |")


async def first_token(bench: Bench, rounds: int, *, identity: bool) -> None:
    policy = bench.policy()
    tokens = make_token_provider(bench.identity, policy) if identity else None
    cfg = chat_cfg(SecretStr(KEY) if tokens is None else None)
    model = OpenAIChatModel(lambda: make_chat_client(cfg, tokens, network=policy), cfg)
    client = bench.raw(policy, azure_ad_token_provider=tokens.token) if tokens else bench.raw(policy)
    whole: dict[str, list[Took]] = {"ours": [], "raw": []}

    async def ours() -> Took:
        watch, first = Watch(), None
        async for delta in model.stream(QUESTION):
            if first is None and delta.text:
                first = watch.took()
        whole["ours"].append(watch.took())
        assert first is not None
        return first

    async def raw() -> Took:
        watch, first = Watch(), None
        options: Any = {"temperature": 0.0, "max_tokens": 1024, "stream_options": {"include_usage": True}}
        async for chunk in await client.chat.completions.create(model="gpt-4", messages=MESSAGES, stream=True, **options):
            if first is None and chunk.choices and chunk.choices[0].delta.content:
                first = watch.took()
        whole["raw"].append(watch.took())
        assert first is not None
        return first

    found = await paired({"ours": ours, "raw": raw}, rounds)
    who = "an identity's token" if identity else "an API key"
    compare(f"first token, {who}", found["ours"], found["raw"], "5 ms")
    compare(f"whole answer of 5 pieces, {who}", whole["ours"], whole["raw"])
    await model.aclose()
    await client.close()


def chat_cfg(key: SecretStr | None, **changes: Any) -> ChatCfg:
    return ChatCfg(provider="azure", model="gpt-4", api_base=f"https://{HOST}", api_version=VERSION, api_key=key, **changes)


async def new_clients(bench: Bench, rounds: int) -> None:
    policy = bench.policy()
    cfg = chat_cfg(SecretStr(KEY))

    async def call(client: Any) -> None:
        assert (await client.chat.completions.create(model="gpt-4", messages=MESSAGES)).choices

    async def reused() -> Took:
        watch = Watch()
        await call(make_chat_client(cfg, network=policy))
        return watch.took()

    async def another(under: NetworkPolicy) -> Took:
        watch = Watch()
        client: Any = make_chat_client(cfg.model_copy(update={"timeout_s": random.uniform(50, 60)}), network=under)
        await call(client)
        took = watch.took()
        await aclose_client(client)
        return took

    found = await paired({"reused": reused, "shared": lambda: another(policy), "own": lambda: another(bench.policy())}, rounds)
    wall = {name: median([took.wall_ms for took in times]) for name, times in found.items()}
    cpu = {name: median([took.cpu_ms for took in times]) for name, times in found.items()}
    print("\n| a chat call on | wall ms | CPU ms | times a reused client's (wall, CPU) |\n|---|---|---|---|")
    names = {"reused": "the cached client", "shared": "a new client, the policy's TLS context", "own": "a new client with a TLS context of its own"}
    for name, title in names.items():
        print(f"| {title} | {wall[name]:.1f} | {cpu[name]:.1f} | {wall[name] / wall['reused']:.1f}, {cpu[name] / cpu['reused']:.1f} |")


async def embeddings(bench: Bench, rounds: int) -> None:
    policy = bench.policy()
    cfg = EmbedCfg(provider="azure", model="text-embedding-ada-002", dims=DIMS, api_base=f"https://{HOST}", api_version=VERSION, api_key=SecretStr(KEY))
    embedder, client = OpenAIEmbedder(lambda: make_embed_client(cfg, network=policy), cfg), bench.raw(policy)
    texts = [f"Passage {place} on tariffs and meters, about as long as one of the handbook's. " * 12 for place in range(256)]

    async def ours() -> Took:
        watch = Watch()
        assert (await embedder.embed(texts)).shape == (len(texts), DIMS)
        return watch.took()

    async def raw() -> Took:
        """Batches as ours, four at a time, rows put in order: the least that a caller needs."""
        watch, starts = Watch(), iter(range(0, len(texts), cfg.batch_size))
        rows: dict[int, list[float]] = {}

        async def worker() -> None:
            for start in starts:
                response = await client.embeddings.create(model="text-embedding-ada-002", input=texts[start : start + cfg.batch_size])
                rows.update({start + item.index: item.embedding for item in response.data})

        await asyncio.gather(*(worker() for _ in range(PARALLEL)))
        assert np.array([rows[place] for place in range(len(texts))], np.float32).shape == (len(texts), DIMS)
        return watch.took()

    found = await paired({"ours": ours, "raw": raw}, rounds)
    compare(f"embedding {len(texts)} texts, {DIMS} dimensions", found["ours"], found["raw"])
    speed = {name: len(texts) / median([took.wall_ms for took in times]) * 1000 for name, times in found.items()}
    print(f"\nEmbeddings: {speed['ours']:.0f} texts/s, the raw client {speed['raw']:.0f} texts/s.")
    await embedder.aclose()
    await client.close()


def look_up(bench: Bench) -> None:
    policy, cfg = bench.policy(), chat_cfg(SecretStr(KEY))
    make_chat_client(cfg, network=policy)
    print("\n| cached look-up | best of 9, µs of CPU | median of 9 | budget |\n|---|---|---|---|")
    for title, call in (
        ("make_chat_client(cfg, network=policy)", lambda: make_chat_client(cfg, network=policy)),
        ("make_chat_client(cfg)", lambda: make_chat_client(cfg)),
    ):
        call()
        times = [taken / 20_000 * 1e6 for taken in timeit.repeat(call, number=20_000, repeat=9, timer=time.process_time)]
        print(f"| {title} | {min(times):.2f} | {median(times):.2f} | 5 µs |")


async def tokens(bench: Bench) -> None:
    before = bench.tell()["tokens"]
    provider = cast("AzureTokens", make_token_provider(bench.identity, bench.policy()))
    start = threading.Barrier(50)
    with ThreadPoolExecutor(50) as pool:
        loop = asyncio.get_running_loop()
        threads = [loop.run_in_executor(pool, lambda: (start.wait(), provider())[1]) for _ in range(50)]
        found = await asyncio.gather(*threads, *(provider.token() for _ in range(50)))
    print(f"\nTokens: 100 concurrent first calls (50 threads, 50 tasks): {bench.tell()['tokens'] - before} token request, {len(set(found))} token.")
    provider.close()
    bench.tell("short")
    provider = cast("AzureTokens", make_token_provider(bench.identity, bench.policy()))
    first = await provider.token()
    bench.tell("slow")
    slowest, calls, waited, now = 0.0, 0, 0, first
    while now == first:
        watch, at_once = Watch(), _at_once(provider)
        slowest, calls, waited = max(slowest, watch.took().wall_ms), calls + 1, waited + (at_once is None)
        now = at_once or await provider.token()
        await asyncio.sleep(0.002)
    print(f"Renewal that takes {FETCH_S:g} s: {calls} calls meanwhile, {waited} of them waited; the slowest took {slowest:.1f} ms.")
    provider.close()


def _at_once(provider: AzureTokens) -> str | None:
    """The token, or None where the call would have to wait for it."""
    call = provider.token()
    try:
        call.send(None)
    except StopIteration as done:
        return cast("str", done.value)
    call.close()
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200, help="rounds of the first token; the others are fewer")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    with emulators() as bench:
        print("| paired, through the proxy | ours p50 ms | raw p50 ms | difference: wall ms | CPU ms | budget |\n|---|---|---|---|---|---|")
        gc.collect()
        for identity in (False, True):
            asyncio.run(first_token(bench, args.calls, identity=identity))
        asyncio.run(embeddings(bench, max(5, args.calls // 10)))
        asyncio.run(new_clients(bench, max(5, args.calls // 5)))
        look_up(bench)
        asyncio.run(tokens(bench))
        print(f"All of it by {bench.tell()['tunnels']} tunnels through the proxy.")


if __name__ == "__main__":
    main()
