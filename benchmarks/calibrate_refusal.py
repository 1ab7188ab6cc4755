"""Calibrate when the extractive model refuses: a logistic regression over `src.agent.evidence.Features`.

Answerable questions of open collections count as answered; unanswerable are MT-RAG's own (`queries-unanswerable.jsonl`)
and two kinds of near misses: the answerable questions asked of the collection without the documents that answer them, and
with one word swapped for a word that the answering passage lacks. Judged by leaving out one collection at a time. The
sample documents under examples/ are never read.

    python -m benchmarks.calibrate_refusal [--data ../shared/data] [--cache DIR] [--write]

The first run ingests the collections (about 4 minutes on two cores).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import random
import re
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.collections_index import SCOPE, Collection
from src.agent import evidence
from src.agent.followup import standalone_question
from src.agent.nodes.retrieve import SPARE
from src.core.chat import Turn
from src.core.search import Hit
from src.retrieval.context import build_context
from src.util.terms import content_stems, stem, tokens

COLLECTIONS: dict[str, int | None] = {"mtrag-un-pooled": None, "xquad-en": None, "cranfield": None, "aws-docs-small": 160, "contoso-hr": None}
"""Each with the number of documents that are taken; AWS's 2,757 pages are cut down to the judged ones and some more."""
ONLY_ANSWERABLE = {"contoso-hr"}
"""Its plans repeat each other page by page: without the gold page the answer is still there."""
MOST_QUESTIONS = 250
RIDGE = 2.0
TARGET = Path(__file__).resolve().parents[1] / "src" / "agent" / "evidence.json"


Kind = Literal["answerable", "unanswerable", "removed", "swapped"]
KINDS: tuple[Kind, ...] = ("answerable", "unanswerable", "removed", "swapped")


@dataclass(frozen=True)
class Case:
    """One question and what was found for it."""

    collection: str
    query: str
    kind: Kind
    question: str
    passages: tuple[Any, ...]
    hits: tuple[Hit, ...]
    measured: evidence.Measured

    @property
    def answerable(self) -> bool:
        return self.kind == "answerable"


async def collect(data: Path, cache: Path, model_cache: Path) -> list[Case]:
    cases: list[Case] = []
    for name, most in COLLECTIONS.items():
        collection = Collection(data, name, cache, model_cache, most=most)
        await collection.ingest()
        queries = [query for query in collection.queries if collection.gold.get(query["_id"])]
        random.Random(3).shuffle(queries)
        vocabulary = sorted({token.text for query in queries for token in tokens(query["text"]) if token.content and len(token.text) > 3})
        for query in queries[:MOST_QUESTIONS]:
            answered = await _case(collection, query, "answerable", set())
            cases.append(answered)
            if swapped := _swap(query, answered, collection.gold[query["_id"]], vocabulary):
                cases.append(await _case(collection, swapped, "swapped", set()))
            if name not in ONLY_ANSWERABLE:
                cases.append(await _case(collection, query, "removed", collection.gold[query["_id"]]))
        extra = collection.folder / "queries-unanswerable.jsonl"
        if extra.is_file():
            cases += [await _case(collection, json.loads(line), "unanswerable", set()) for line in extra.open(encoding="utf-8")]
        await collection.aclose()
    return cases


def _swap(query: dict[str, Any], case: Case, gold: set[str], vocabulary: list[str]) -> dict[str, Any] | None:
    """The question with one of its three rarest words replaced by a word of other questions that no gold passage holds."""
    held = {stem for p in case.passages if p.hit.document_id in gold for stem in content_stems(f"{p.hit.title} {p.hit.section} {p.hit.text}")}
    found = [token for token in tokens(query["text"]) if token.content and token.stem in held and len(token.text) > 3]
    if not found:
        return None
    rng = random.Random(query["_id"])
    counts = {token.stem: sum(token.stem in content_stems(hit.text) for hit in case.hits) for token in found}
    token = rng.choice(sorted(found, key=lambda t: counts[t.stem])[:3])
    others = [word for word in vocabulary if word[0].isupper() == token.text[0].isupper() and stem(word) not in held]
    if not others:
        return None
    return {**query, "text": query["text"][: token.start] + rng.choice(others) + query["text"][token.end :]}


async def _case(collection: Collection, query: dict[str, Any], kind: Kind, removed: set[str]) -> Case:
    question = standalone_question(query["text"].strip(), history_of(query))
    wanted = SPARE * collection.cfg.passages
    result = await collection.retriever.search(question, SCOPE, top_k=wanted + (40 if removed else 0))
    hits = tuple(hit for hit in result.hits if not any(_same_place(hit.document_id, gone) for gone in removed))[:wanted]
    context = build_context(hits, collection.tokenizer, collection.cfg)
    measured = await evidence.gather(question, context.passages, collection.embedder)
    return Case(collection.name, query["_id"], kind, question, context.passages, hits, measured)


def history_of(query: dict[str, Any]) -> list[Turn]:
    """MT-RAG's conversation before a question, as turns of a thread."""
    turns: list[Turn] = []
    said = query.get("metadata", {}).get("history", [])
    for user, agent in zip(said[::2], said[1::2], strict=False):
        turns.append(Turn("", user["text"], agent["text"], (), False, (), ""))
    return turns[-6:]


_SPAN = re.compile(r"^(?P<page>.+?)[_-](?P<start>\d+)-(?P<end>\d+)(?:-\d+-\d+)?$")


def _same_place(document: str, gone: str) -> bool:
    """Whether two documents are one, or overlapping cuts of one page (MT-RAG's ids carry their place)."""
    left, right = _SPAN.match(document), _SPAN.match(gone)
    if document == gone or not (left and right):
        return document == gone
    return left["page"] == right["page"] and int(left["start"]) < int(right["end"]) and int(right["start"]) < int(left["end"])


# ---- fitting


def matrix(cases: list[Case]) -> tuple[Any, Any, Any]:
    """Features, labels, and weights that make collections count alike, the two labels inside each, and the kinds of each label."""
    rows = np.array([list(asdict(evidence.measure(c.question, c.passages, c.hits, c.measured)).values()) for c in cases])
    labels = np.array([c.answerable for c in cases], float)
    groups = Counter((case.collection, case.kind) for case in cases)
    kinds = Counter((collection, kind == "answerable") for collection, kind in groups)
    weights = np.array([1 / groups[case.collection, case.kind] / kinds[case.collection, case.answerable] for case in cases])
    return rows, labels, weights / weights.mean()


def fit(rows: Any, labels: Any, weights: Any) -> tuple[Any, float]:
    """Weighted logistic regression with a ridge, by Newton's method, on standardised features; returned for raw ones."""
    mean, scale = rows.mean(0), rows.std(0) + 1e-9
    design = np.hstack([(rows - mean) / scale, np.ones((len(rows), 1))])
    ridge = np.diag([RIDGE] * rows.shape[1] + [0.0])
    theta = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ theta))
        gradient = design.T @ (weights * (chance - labels)) + ridge @ theta
        hessian = (design * (weights * chance * (1 - chance))[:, None]).T @ design + ridge
        step = np.linalg.solve(hessian, gradient)
        theta -= step
        if np.abs(step).max() < 1e-9:
            break
    slopes = theta[:-1] / scale
    return slopes, float(theta[-1] - slopes @ mean)


def auc(scores: Any, labels: Any) -> float:
    """Chance that an answerable question scores above an unanswerable one."""
    order = np.argsort(np.argsort(scores, kind="stable"), kind="stable") + 1.0
    yes = labels > 0.5
    n, m = int(yes.sum()), int((~yes).sum())
    return float((order[yes].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def threshold_of(cases: list[Case], scores: Any, weights: Any, kept: float) -> float:
    """The highest threshold that still answers the share ``kept`` of the answerable questions, collections counting alike."""
    yes = np.array([case.answerable for case in cases])
    order = np.argsort(scores[yes])
    below = np.cumsum(weights[yes][order]) / weights[yes].sum()
    return float(scores[yes][order][np.searchsorted(below, 1 - kept)])


def report(cases: list[Case], scores: Any, threshold: float, title: str) -> None:
    print(f"\n{title} (threshold {threshold:.3f})")
    for name in COLLECTIONS:
        mine = np.array([case.collection == name for case in cases])
        labels = np.array([case.answerable for case in cases], float)
        line = f"  {name:18} AUC {auc(scores[mine], labels[mine]):.3f}"
        for kind in KINDS:
            here = mine & np.array([case.kind == kind for case in cases])
            if here.any():
                line += f"   {kind} {int(here.sum())}: {100 * float((scores[here] < threshold).mean()):.0f}% refused"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/founders-rag/calibration").expanduser())
    parser.add_argument("--models", type=Path, default=Path("~/.cache/founders-rag").expanduser())
    parser.add_argument("--kept", type=float, default=0.97, help="share of answerable questions that must be answered")
    parser.add_argument("--again", action="store_true", help="search again instead of using what the last run found")
    parser.add_argument("--write", action="store_true", help="write src/agent/evidence.json")
    args = parser.parse_args()

    found = args.cache / "cases.pickle"
    if args.again or not found.is_file():
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_bytes(pickle.dumps(asyncio.run(collect(args.data, args.cache, args.models))))
    cases: list[Case] = pickle.loads(found.read_bytes())
    rows, labels, weights = matrix(cases)
    names = [field.name for field in fields(evidence.Features)]
    print("AUC of each feature by itself, over all collections:")
    print("  " + "  ".join(f"{name} {auc(rows[:, i], labels):.3f}" for i, name in enumerate(names)))

    held_out = np.zeros(len(cases))
    for name in COLLECTIONS:
        inside = np.array([case.collection == name for case in cases])
        slopes, intercept = fit(rows[~inside], labels[~inside], weights[~inside])
        held_out[inside] = 1 / (1 + np.exp(-(rows[inside] @ slopes + intercept)))
    report(cases, held_out, threshold_of(cases, held_out, weights, args.kept), "each collection judged by a model fitted on the others")

    slopes, intercept = fit(rows, labels, weights)
    scores = 1 / (1 + np.exp(-(rows @ slopes + intercept)))
    threshold = threshold_of(cases, scores, weights, args.kept)
    report(cases, scores, threshold, "fitted on all")
    print("  " + "  ".join(f"{name} {slope:+.2f}" for name, slope in zip(names, slopes, strict=True)), f" intercept {intercept:+.2f}")
    if args.write:
        made = {
            "made_by": "python -m benchmarks.calibrate_refusal --write",
            "made_from": {name: sum(case.collection == name for case in cases) for name in COLLECTIONS},
            "held_out_auc": round(auc(held_out, labels), 4),
            "answered_at_threshold": args.kept,
            "threshold": round(threshold, 4),
            "intercept": round(intercept, 5),
            "weights": {name: round(float(slope), 5) for name, slope in zip(names, slopes, strict=True)},
        }
        TARGET.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
