"""Writes docs/metrics.md from the catalogue of figures: ``.venv/bin/python docs/generate_metrics.py [--check]``.

With ``--check`` nothing is written, and the exit code is 1 where the committed page is not current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "metrics.md"
sys.path.insert(0, str(ROOT))

from docs.page import keep  # noqa: E402 - found through the path above, from any folder
from src.infra.metrics import MAX_SERIES  # noqa: E402 - as above
from src.infra.metrics_keeping import EVERY_S  # noqa: E402 - as above
from src.telemetry.attributes import MAX_VALUES  # noqa: E402 - as above
from src.telemetry.metrics_catalogue import FIGURES, Figure  # noqa: E402 - as above

INTRODUCTION = f"""\
<!-- Written by docs/generate_metrics.py from src/telemetry/metrics_catalogue.py. Do not edit; run the script. -->
# Figures for Prometheus

`rag serve` shows its figures at `/metrics`, without a collector and without an extra. No word of a question, an answer or a
document is in them. Alerts, recording rules, dashboards and a collector's configuration lie in [`deploy/`](../deploy/README.md).

## Who may look

| set | Prometheus asks | who may |
|---|---|---|
| nothing, `[api] auth = none` | `http://127.0.0.1:8000/metrics` | everybody on this machine |
| `[telemetry] metrics_token = …` | the API's port, with `Authorization: Bearer TOKEN` | who has the token |
| `[api] admin_group = …`, `auth = tokens` | the API's port, with an operator's token (`rag token create --group …`) | operators |
| `[telemetry] metrics_port = 9464`, `metrics_host = 0.0.0.0` | `http://HOST:9464/metrics` | who reaches it, or has the `metrics_token` that is set |
| `[telemetry] metrics = false` | | nobody: nothing is counted |

The token of `metrics_token` opens nothing but `/metrics`. The listener of its own runs in a thread, and answers while the event loop
is held up. It speaks plain HTTP: where others share the network, leave it on loopback or set a token.

```yaml
scrape_configs:
  - job_name: rag
    static_configs: [{{targets: ["rag.company.com:8000"]}}]
    authorization: {{credentials_file: /etc/prometheus/rag-token}}
```

## What to know

- **Looking asks nobody.** Size of the index and health of the parts are asked for every {EVERY_S:g} s, beside the requests; a look reads what was last told.
  `rag_index_checked_timestamp_seconds` says when that was.
- **Each process is a target of its own** and keeps its own figures; replicas are added up by Prometheus. `rag ingest` ends before anybody
  looks: what it counted is added to `metrics/commands.json` in the data folder when it ends, and one server on that folder shows
  it with its own, never two. What a command counts that is killed with `kill -9` is lost, and so is one's on a machine that has
  another data folder: use OTLP there.
- **Series are few.** A label takes {MAX_VALUES} values, further ones are `_other`; a figure has {MAX_SERIES:,} series at most, what comes beyond is in the
  one with `otel_metric_overflow="true"`. Tenants are told apart only where `metrics_tenants` says how many.
- **Trace ids.** Prometheus 2.26 and later ask for OpenMetrics; buckets and counters then name a trace in which they were last raised,
  where `[telemetry] enabled` exports traces (`--enable-feature=exemplar-storage`, and a Grafana data source with the label `trace_id`).
- **The same over OTLP.** Each figure is recorded once, and goes to `/metrics` and to the collector of `[telemetry] enabled`. Names are OTel's; as
  Prometheus shows them they follow OTel's rule (dots are underscores, the unit behind, `_total` behind counters), so a collector's
  Prometheus exporter makes the same names. Only what the process takes (`process_…`) is at `/metrics` alone.
- **Cost** is in the unit of `[telemetry] prices` (and of `[agent] input_price`, `output_price` for the answering model): `prices = gpt-4o=2.5/10,
  text-embedding-3-small=0.02`, for a million tokens read/written. Tokens are those that the service counts; those that it
  bills at less, because it had them in its cache, count in full.
- **Your own figures** (`get_metrics().count("orders")`) are shown as well, as `rag_orders_total`.

## All figures

| Prometheus | type | labels | meaning |
|---|---|---|---|
"""

PROCESS = """
What the process takes: `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_open_fds`,
`process_max_fds`, `process_start_time_seconds`.

Stages (`rag_stage`) are those of [observability.md](observability.md#what-is-exported): `chat`, `retrieve` and `ingest` are what was asked
for, around the others.
"""


def render() -> str:
    """The page."""
    return INTRODUCTION + "\n".join(_rows()) + "\n" + PROCESS


def _rows() -> Iterator[str]:
    for figure in sorted(FIGURES.values(), key=lambda figure: figure.exposed):
        labels = ", ".join(f"`{label}`" for label in figure.exposed_labels) or "–"
        yield f"| `{figure.exposed}` | {figure.kind} | {labels} | {_meaning(figure)} |"


def _meaning(figure: Figure) -> str:
    note = " `rag_tenant` only with `metrics_tenants`." if figure.by_tenant else ""
    return f"{figure.help}{note} (`{figure.name}`)".replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(keep(PAGE, render(), sys.argv))
