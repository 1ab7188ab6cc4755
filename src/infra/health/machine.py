"""What the machine has left: disk, memory, processor. Read from the kernel's own files; in a container its limits count."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..config import HealthCfg
from .checker import Finding
from .hysteresis import Status

_CGROUP = Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")
MB = 1_000_000


def disk(folder: Path, cfg: HealthCfg) -> Finding:
    """The disk of a folder, or of what will hold it."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    usage = shutil.disk_usage(there)
    used = 100 * usage.used / (usage.used + usage.free)  # what only root may use counts as used, as in df
    text = f"{usage.free / MB:,.0f} MB free where {folder} lies, {used:.0f}% used"
    if usage.free < cfg.disk_free_mb * MB:
        return Finding("unhealthy", f"{text}; health.disk_free_mb = {cfg.disk_free_mb}")
    return _limited(used, cfg.disk_percent, text, "health.disk_percent")


def memory(cfg: HealthCfg, cgroup: Path = _CGROUP, meminfo: Path = _MEMORY) -> Finding:
    """Memory in use: of the container where it has a limit, else of the machine."""
    found = _of_container(cgroup) or _of_machine(meminfo)
    if found is None:
        return Finding("unknown", "this system does not tell its memory")
    used, total = found
    percent = 100 * used / total
    return _limited(percent, cfg.memory_percent, f"{percent:.0f}% of {total / MB:,.0f} MB used", "health.memory_percent")


def processor(cfg: HealthCfg) -> Finding:
    """Tasks that run or wait, for each core that this process may use, on average of the last minute."""
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    return _limited(load, cfg.load_per_core, f"a load of {load:.1f} for each core", "health.load_per_core")


def _limited(value: float, limit: float, text: str, setting: str) -> Finding:
    status: Status = "degraded" if value >= limit else "healthy"
    return Finding(status, f"{text}; {setting} = {limit:g}" if status == "degraded" else "")


def _of_container(folder: Path) -> tuple[int, int] | None:
    """Bytes in use without what the kernel gives back (files' pages), and the limit; None where there is none (cgroup version 2)."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        kinds = dict(line.split(" ", 1) for line in (folder / "memory.stat").read_text().splitlines())
        return None if limit == "max" else (int(used) - int(kinds.get("inactive_file", "0")), int(limit))
    except (OSError, ValueError):
        return None


def _of_machine(path: Path) -> tuple[int, int] | None:
    try:
        kinds = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in path.read_text().splitlines())}
        return kinds["MemTotal"] - kinds["MemAvailable"], kinds["MemTotal"]
    except (OSError, ValueError, KeyError, IndexError):
        return None
