"""Provisional: one request to OpenSearch. The real one (retries, breaker, errors) takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp

    from ...config import SearchCfg
    from ...network import NetworkPolicy


class Transport:
    def __init__(self, cfg: SearchCfg, network: NetworkPolicy, *, signer: Any = None) -> None:
        self._cfg = cfg
        self._session: aiohttp.ClientSession | None = None

    async def perform_raw(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        timeout_s: float | None = None,
        retry: bool = True,
        index: str = "",
    ) -> tuple[int, Any]:
        """Status and decoded body of any answer below 500 but 401, 403 and 429; everything else raises."""
        import aiohttp
        import orjson

        if self._session is None:
            self._session = aiohttp.ClientSession()
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        async with self._session.request(
            method,
            f"{self._cfg.host}{path}",
            params=params,
            data=data,
            headers={"Content-Type": kind},
            timeout=aiohttp.ClientTimeout(timeout_s or self._cfg.timeout_s),
        ) as response:
            text = await response.read()
            return response.status, orjson.loads(text) if text else None

    async def perform(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        timeout_s: float | None = None,
        retry: bool = True,
        index: str = "",
    ) -> Any:
        """The decoded body of a good answer; raises `RagError` kinds, with host and index, for every other."""
        status, answer = await self.perform_raw(method, path, params=params, body=body, timeout_s=timeout_s, retry=retry, index=index)
        if status >= 400:
            raise RuntimeError(f"{status} {answer}")
        return answer

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
