"""Errors of the `openai` package and of the connection below it, in our words.

Nothing of a request or of a server's text is repeated: both may hold the prompt. What is repeated are status, error code
and filter categories, and only where they look like the words they should be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import httpx2
import openai

from ...errors import (
    ConfigurationError,
    ContentFilteredError,
    DeadlineExceededError,
    InputError,
    ModelCredentialsError,
    ModelError,
    RagError,
    ServiceUnavailableError,
    StreamInterruptedError,
)
from ..hops import Hop, error_of
from ..network.faults import causes, fault_of

if TYPE_CHECKING:
    from ..config import ChatCfg, EmbedCfg

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,59}")
_UNRECOGNISED = re.compile(r"Unrecognized request argument supplied: (\w+)")
_FAILURES: tuple[type[Exception], ...] = (
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.StreamError,
    OSError,  # ssl.SSLError and TimeoutError among them
    ValueError,  # JSON and UTF-8 that are none
    anyio.EndOfStream,  # httpx2 lets these two through where TLS ends unannounced
    anyio.ClosedResourceError,
)
_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})


class ErrorMap:
    """Turns failures of one section's model into errors of ours.

    Args:
        section: ``chat`` or ``embed``: whose keys the errors name.
        cfg: that section.
    """

    def __init__(self, section: str, cfg: ChatCfg | EmbedCfg) -> None:
        self._section = section
        self._azure = cfg.provider == "azure"
        self._identity = self._azure and cfg.api_key is None
        self._model = cfg.model
        self._timeout_s = cfg.timeout_s
        parts = urlsplit(cfg.api_base or "https://api.openai.com")
        self.hop = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._way = Hop("The model's service", self.hop, f"{section}.api_base", timeout_setting=f"{section}.timeout_s")

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What a call can fail with and `translate` knows; anything else is a fault of ours and passes through."""
        return _FAILURES

    @property
    def credential(self) -> str:
        return "azure_openai.api_key or azure.certificate_path" if self._azure else f"{self._section}.api_key"

    def deadline(self) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"The model did not answer within {self._timeout_s:g} s.",
            hop=self.hop,
            setting=f"{self._section}.timeout_s",
            hint="Raise it, or check proxy and service.",
        )

    def interrupted(self) -> StreamInterruptedError:
        return StreamInterruptedError("The model's answer broke off before its end.", hop=self.hop, hint="Ask again.")

    def filtered(self, categories: tuple[str, ...] = ()) -> ContentFilteredError:
        why = f" ({', '.join(categories)})" if categories else ""
        return ContentFilteredError(f"The provider's content filter stopped this{why}.", hop=self.hop, hint="Put the question differently.")

    def translate(self, error: Exception) -> RagError:
        """The error to raise instead; raise it ``from None``, the original carries the request."""
        if isinstance(error, openai.APIStatusError):
            return self._status(error)
        ours = next((cause for cause in causes(error) if isinstance(cause, RagError)), None)
        if ours is not None:  # of the identity, when a refused token could not be replaced
            return ours
        if isinstance(error, (TimeoutError, openai.APIConnectionError, httpx2.TransportError, OSError)):
            fault = fault_of(error)
            return self.deadline() if fault.kind == "read-timeout" else error_of(fault, self._way)
        if isinstance(error, UnicodeError):
            return InputError("The text cannot be written as UTF-8.")
        return ModelError(f"The model's answer could not be read ({type(error).__name__}).", hop=self.hop)

    def translate_stream(self, error: Exception) -> RagError:
        """The same, once an answer has begun: a broken connection is then a broken answer."""
        if isinstance(error, (openai.APIStatusError, TimeoutError, openai.APITimeoutError, httpx2.TimeoutException)):
            return self.translate(error)
        if isinstance(error, openai.APIError) and error.code == "content_filter":
            return self.filtered()
        return self.interrupted()

    def _status(self, error: openai.APIStatusError) -> RagError:
        status = error.status_code
        known = {400: self._bad_request, 401: self._unauthenticated, 403: self._forbidden, 404: self._not_found, 429: self._rate_limited}
        if status in known:
            return known[status](error)
        if 300 <= status < 400:
            return ConfigurationError("The service redirects elsewhere.", hop=self.hop, setting=f"{self._section}.api_base", hint="Name its final address.")
        if status >= 500 or status in (408, 409):
            return ServiceUnavailableError(f"The model's service failed (HTTP {status}).", hop=self.hop, hint="Try again later.")
        return self._refused(error)

    def _bad_request(self, error: openai.APIStatusError) -> RagError:
        if error.code == "content_filter":
            return self.filtered(_categories(error.body))
        if error.code == "context_length_exceeded":
            return ModelError("The request is longer than the model reads.", hop=self.hop, setting="retrieval.context_tokens", hint="Lower it.")
        return self._refused(error)

    def _refused(self, error: openai.APIStatusError) -> RagError:
        code = f", {error.code}" if error.code and _WORD.fullmatch(error.code) else ""
        return ModelError(f"The model's service refused the request (HTTP {error.status_code}{code}).", hop=self.hop, setting=f"{self._section}.model")

    def _unauthenticated(self, _error: openai.APIStatusError) -> RagError:
        if self._identity:
            text = "The model's service accepts neither the identity's token nor a new one (HTTP 401)."
            return ModelCredentialsError(text, hop=self.hop, setting="azure.scope", hint="Check scope and tenant: the token must be meant for this resource.")
        return ModelCredentialsError(
            "The model's service does not accept the credential (HTTP 401).", hop=self.hop, setting=self.credential, hint="Check key or identity."
        )

    def _forbidden(self, _error: openai.APIStatusError) -> RagError:
        if self._identity:
            hint = "Give it the role Cognitive Services OpenAI User on the resource."
            return ModelCredentialsError("The identity may not use this model (HTTP 403).", hop=self.hop, setting="azure.client_id", hint=hint)
        return ModelCredentialsError(
            "The credential may not use this model (HTTP 403).", hop=self.hop, setting=self.credential, hint="Ask for access to the resource."
        )

    def _not_found(self, _error: openai.APIStatusError) -> RagError:
        noun = "deployment" if self._azure else "model"
        return ConfigurationError(
            f"The service knows no {noun} {self._model!r} (HTTP 404).",
            hop=self.hop,
            setting=f"{self._section}.model",
            hint=f"Check it, and {self._section}.api_base.",
        )

    def _rate_limited(self, error: openai.APIStatusError) -> RagError:
        wait = error.response.headers.get("retry-after", "")
        hint = f"Try again in {wait} s." if wait.isdecimal() else "Try again later."
        return ServiceUnavailableError("The model's service is rate limited (HTTP 429).", hop=self.hop, hint=hint)


def unsupported_option(error: openai.BadRequestError, options: frozenset[str]) -> str | None:
    """The name of the optional parameter that this model, or this API version, does not know; None if it is about something else."""
    if error.param in options and error.code in _UNSUPPORTED:
        return error.param
    found = _UNRECOGNISED.search(error.message)
    return found[1] if found and found[1] in options else None


def _categories(body: object) -> tuple[str, ...]:
    """Names of the filter's categories that struck, as Azure tells them."""
    inner = body.get("innererror") if isinstance(body, Mapping) else None
    results = inner.get("content_filter_result") if isinstance(inner, Mapping) else None
    if not isinstance(results, Mapping):
        return ()
    struck = (str(name) for name, result in results.items() if isinstance(result, Mapping) and result.get("filtered"))
    return tuple(sorted(name for name in struck if _WORD.fullmatch(name)))
