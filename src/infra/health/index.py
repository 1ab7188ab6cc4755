"""How far the embedded index's views lag behind it, and when it was last written. Looks at files, changes nothing, waits for no lock."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from ..config import HealthCfg
from ..search.embedded.truth import FILE_NAME
from ..search.embedded.viewfile import read_position
from ..search.embedded.views import FOLDER
from .checker import Finding

_VIEWS = ("lexical", "vector")


def index(folder: Path, cfg: HealthCfg, now: float | None = None) -> Finding:
    """An index that is not there yet is well: nothing was ingested."""
    path = folder / FILE_NAME
    if not path.exists():
        return Finding("healthy")
    try:
        seq = _written(path)
    except sqlite3.Error as error:
        return Finding("unknown", f"{path} does not tell how far it is: {type(error).__name__}")
    lags = [f"the {name} view lags {behind:,} changes behind" for name in _VIEWS if (behind := seq - _seen(folder / FOLDER / name)) > cfg.index_lag]
    age_h = ((now or time.time()) - _last_write(path)) / 3600
    if cfg.index_age_h is not None and age_h > cfg.index_age_h:
        lags.append(f"last written {age_h:,.1f} hours ago; health.index_age_h = {cfg.index_age_h:g}")
    return Finding("degraded", "; ".join(lags)) if lags else Finding("healthy")


def _written(path: Path) -> int:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
        row = connection.execute("SELECT seq FROM state").fetchone()
    return int(row[0]) if row else 0


def _seen(folder: Path) -> int:
    """Of a view that is not there nothing is known: it is made from the start, which is its whole lag."""
    position = read_position(folder)
    return 0 if position is None else position.seq


def _last_write(path: Path) -> float:
    """When the index last took a commit; its log counts only where there is something in it, for opening makes an empty one."""
    log = path.with_name(f"{path.name}-wal")
    found = [path.stat().st_mtime]
    if log.exists() and log.stat().st_size:
        found.append(log.stat().st_mtime)
    return max(found)
