"""How often the check of support catches a swapped fact, and how often it refuses a true sentence, by kind.

python -m benchmarks.bench_support [--data ../shared/data] [--seed 7] [--show KIND]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.support_pairs import load_pairs
from src.agent.support import check_support


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--per-kind", type=int, default=60, help="pairs of each kind from each collection")
    parser.add_argument("--show", help="print the pairs of this kind that were judged wrongly")
    args = parser.parse_args()

    pairs = load_pairs(args.data, args.seed, args.per_kind)
    right: dict[str, list[bool]] = defaultdict(list)
    begin = time.perf_counter()
    for pair in pairs:
        verdict = check_support(pair.claim, pair.passage, pair.heading)
        right[pair.kind].append(verdict.supported == pair.true)
        if args.show and pair.kind == args.show and verdict.supported != pair.true:
            print(f"--- {verdict.reasons} {verdict.coverage:.2f}\nclaim:   {pair.claim}\nmatched: {pair.passage[slice(*verdict.span)]}")
    took = (time.perf_counter() - begin) * 1000 / max(1, len(pairs))
    for kind, outcomes in sorted(right.items(), key=lambda item: (item[0].startswith("swapped"), item[0])):
        print(f"{kind:18} {len(outcomes):5} pairs   {'caught' if kind.startswith('swapped') else 'accepted'} {100 * sum(outcomes) / len(outcomes):5.1f}%")
    false = [ok for kind, outcomes in right.items() if kind.startswith("swapped") for ok in outcomes]
    true = [ok for kind, outcomes in right.items() if not kind.startswith("swapped") for ok in outcomes]
    print(f"all swapped        {len(false):5} pairs   caught {100 * sum(false) / max(1, len(false)):5.1f}%")
    print(f"all true           {len(true):5} pairs   false alarms {100 - 100 * sum(true) / max(1, len(true)):5.1f}%")
    print(f"{took:.2f} ms a check")


if __name__ == "__main__":
    main()
