"""`[persistence]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from .section import Section


class PersistenceCfg(Section):
    """`[persistence]`: LangGraph checkpointer and store."""

    backend: Literal["memory", "sqlite", "postgres"] = Field("sqlite", description="Where threads live; `postgres` for several servers.")
    dsn: SecretStr | None = Field(None, description="Connection string for postgres: postgresql://USER@HOST:5432/DATABASE; libpq's parameters may follow.")
    password: SecretStr | None = Field(None, description="Password for postgres, where the connection string holds none.")
    use_azure_auth: bool = Field(False, description="Tokens of the `[azure]` identity as password: Azure Database for PostgreSQL.")
    azure_scope: str = Field("https://ossrdbms-aad.database.windows.net/.default", description="Scope of those tokens.")
    pool_size: int = Field(10, ge=2, le=500, description="Connections to postgres that a process opens at most.")
    pool_timeout_s: float = Field(10.0, gt=0, description="Seconds to wait for a connection of the pool to come free.")
    connect_timeout_s: float = Field(5.0, gt=0, description="Seconds a connection to postgres may take, 2 at least.")
    timeout_s: float = Field(30.0, gt=0, description="Seconds an answer of postgres may take.")
    auto_migrate: bool = Field(True, description="Make and upgrade the tables in postgres on first use; off, they must be there.")
    retention_days: float | None = Field(None, ge=0, description="`rag threads retain` deletes threads that were not used for so many days.")
    retention_threads: int | None = Field(None, ge=0, description="It deletes all but so many of each tenant's latest threads.")
    retention_every_h: float = Field(
        24.0, ge=0, le=8760, description="Hours between two runs of it in the server, by one replica at a time, where a limit above is set; 0: in no server."
    )
    retention_graphs: Literal["turns", "latest", "off"] = Field(
        "turns", description="What it keeps of each thread of your own graphs: the checkpoint at the end of each turn, the latest alone, or all of them."
    )
    encryption_keys: SecretStr | None = Field(
        None,
        description="Encrypt checkpoints: NAME:BASE64 (32 bytes), comma separated; the first key encrypts, all decrypt, what is not encrypted is refused.",
    )
