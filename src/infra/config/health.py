"""`[health]`."""

from __future__ import annotations

from pydantic import Field

from .section import Section


class HealthCfg(Section):
    """`[health]`: when a part counts as well."""

    timeout_s: float = Field(5.0, gt=0, le=60, description="Seconds that a check may take before it counts as failed.")
    cache_s: float = Field(1.0, ge=0, le=300, description="Seconds that what a check found is kept for whoever asks next.")
    failures: int = Field(2, ge=1, le=100, description="Failures in a row after which a part that was well counts as unhealthy, or degraded.")
    recoveries: int = Field(2, ge=1, le=100, description="Good answers in a row after which it counts as well again.")
    disk_percent: float = Field(95.0, gt=0, le=100, description="The data folder's disk is degraded when as much of it is used.")
    disk_free_mb: int = Field(200, ge=0, description="It is unhealthy when fewer megabytes are free.")
    memory_percent: float = Field(95.0, gt=0, le=100, description="Memory of the machine, or of the container, is degraded when as much of it is used.")
    load_per_core: float = Field(10.0, gt=0, description="The processor is degraded when as many tasks wait for each core (load of the last minute).")
    pool_percent: float = Field(90.0, gt=0, le=100, description="A pool of connections is degraded when as many of them are in use.")
    certificate_days: int = Field(30, ge=0, le=3650, description="Certificates of `[network]` are degraded so many days before they expire.")
    index_age_h: float | None = Field(None, gt=0, description="The index is degraded when it was not written for so many hours.")
    index_lag: int = Field(1000, ge=0, description="It is degraded when a view lags so many changes behind it.")
