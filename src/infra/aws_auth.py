"""AWS SigV4: who signs a request, and with which credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Signer(Protocol):
    """Adds what proves who sends a request. Called for each attempt; shared between tasks, threads and event loops."""

    async def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers to add to exactly this request.

        Args:
            method: In capitals.
            url: As it is sent, host and query included, already percent-encoded.
            headers: Those of the request so far; names in any case.
            body: The bytes as they are sent; empty where there is none.

        Returns:
            Headers to set beside the ones given, replacing any of the same name.

        Raises:
            ConfigurationError: there is no credential, or a key such as the region is missing.
            MissingExtraError: the optional package is not installed.
        """
        ...
