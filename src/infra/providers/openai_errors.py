"""Errors of the `openai` package and of the connection below it, in our words.

Nothing of a request or of a server's text is repeated: both may hold the prompt. What is repeated are status, error code
and filter categories, and only where they look like the words they should be.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
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
from ..hops import Hop, answer_error, error_of, foreign
from ..network.faults import Fault, causes, fault_of
from ..secrets.live import LiveSecret
from .attempts import Attempts
from .openai_client import AnyClient, proxy_of
from .openai_shapes import ShapeError

if TYPE_CHECKING:
    from ..config import ChatCfg, EmbedCfg

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,59}")
_UNRECOGNISED = re.compile(r"Unrecognized request argument supplied: (\w+)")
_UNREADABLE = (RecursionError, OverflowError)
"""JSON that is nested without end, and numbers that are longer than any float."""
_FAILURES: tuple[type[Exception], ...] = (
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.StreamError,
    OSError,  # ssl.SSLError and TimeoutError among them
    ValueError,  # JSON and UTF-8 that are none
    anyio.EndOfStream,  # httpx2 lets these two through where TLS ends unannounced
    anyio.ClosedResourceError,
    *_UNREADABLE,
)
_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})


class ErrorMap:
    """Turns the failures of one call to a section's model into errors of ours.

    Args:
        section: ``chat`` or ``embed``: whose keys the errors name.
        cfg: that section.
        client: that is called, for the proxy on its way.
    """

    def __init__(self, section: str, cfg: ChatCfg | EmbedCfg, client: AnyClient | None = None) -> None:
        self._section = section
        self._cfg = cfg
        self._client = client
        self._azure = cfg.provider == "azure"
        self._identity = self._azure and cfg.api_key is None
        self._attempts: Attempts | None = None
        parts = urlsplit(cfg.api_base or "https://api.openai.com")
        self.hop = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What a call can fail with and `translate` knows; anything else is a fault of ours and passes through."""
        return _FAILURES

    @property
    def _way(self) -> Hop:
        section = self._section
        way = Hop("The model's service", self.hop, self._key("api_base"), f"{section}.timeout_s", repeats_setting=f"{section}.max_retries")
        return way.through(proxy_of(self._client) if self._client is not None else None)

    def _key(self, name: str) -> str:
        return self._cfg.key(self._section, name)

    def noted(self) -> AbstractContextManager[None]:
        """Around a call, at its beginning: what its attempts came to is told when its time is over."""
        self._attempts = Attempts(asyncio.get_running_loop().time() + self._cfg.timeout_s, self._cfg.max_retries)
        return self._attempts.noted()

    def deadline(self) -> RagError:
        """The time is over: what was waited for, or why the last attempt was not the last."""
        attempts, way, setting = self._attempts, self._way, f"{self._section}.timeout_s"
        within = f"within {self._cfg.timeout_s:g} s"
        if attempts is not None and attempts.waiting == "token":
            hint = f"Check the way there; an azure.timeout_s below {setting} lets it say what failed."
            return DeadlineExceededError(f"The identity gave no token {within}.", hop=attempts.identity, setting="azure.timeout_s", hint=hint)
        if attempts is not None and attempts.waiting == "secret" and isinstance(attempts.secret, LiveSecret):
            return attempts.secret.late(setting, self._cfg.timeout_s)
        if attempts is not None and not attempts.waiting:
            error = None if attempts.status is None else answer_error(attempts.status, way, retry_after=attempts.retry_after)
            if error is None and attempts.failure is not None:
                error = error_of(fault_of(attempts.failure), way)
            if error is not None:
                return error
        text, hint = f"The model did not answer {within}.", "Raise it, or check proxy and service."
        return DeadlineExceededError(text, hop=self.hop, proxy=way.proxy, setting=setting, hint=hint)

    def interrupted(self) -> StreamInterruptedError:
        text, hint = "The model's answer broke off before its end.", "Ask again; look at the service and what lies before it."
        return StreamInterruptedError(text, hop=self.hop, proxy=self._way.proxy, setting=self._key("api_base"), hint=hint)

    def filtered(self, categories: tuple[str, ...] = ()) -> ContentFilteredError:
        why = f" ({', '.join(categories)})" if categories else ""
        return ContentFilteredError(f"The provider's content filter stopped this{why}.", hop=self.hop, hint="Put the question differently.")

    def empty(self, response: httpx2.Response) -> RagError:
        """The error of a stream without a single event: something else answered, or it broke off at its beginning."""
        return self.interrupted() if "event-stream" in response.headers.get("content-type", "") else foreign(self._way, "no stream of events")

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
        if isinstance(error, (ShapeError, *_UNREADABLE)):
            return foreign(self._way, str(error) if isinstance(error, ShapeError) else "JSON beyond measure")
        if isinstance(error, UnicodeEncodeError):
            return InputError("The text cannot be written as UTF-8.")
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):  # an answer without a length that broke off looks so too
            return error_of(Fault("truncated"), self._way)
        return ModelError(f"The model's answer could not be read ({type(error).__name__}).", hop=self.hop, setting=self._key("api_base"))

    def translate_stream(self, error: Exception) -> RagError:
        """The same, once an answer has begun: a broken connection is then a broken answer."""
        if isinstance(error, (openai.APIStatusError, *_UNREADABLE, TimeoutError, openai.APITimeoutError, httpx2.TimeoutException)):
            return self.translate(error)
        if isinstance(error, openai.APIError) and error.code == "content_filter":
            return self.filtered()
        return self.interrupted()

    def translate_event(self, error: Exception) -> RagError:
        """The error of one event that cannot be read."""
        return self.translate(error) if isinstance(error, ShapeError) else self.translate_stream(error)

    def within_stream(self, error: object) -> RagError:
        """The error that the service told within an answer; its words are not repeated."""
        told = isinstance(error, Mapping) and error.get("code") == "content_filter"
        return self.filtered() if told else self.interrupted()

    def _status(self, error: openai.APIStatusError) -> RagError:
        status, way = error.status_code, self._way
        found = answer_error(status, way, retry_after=error.response.headers.get("retry-after", ""))
        if found is not None:
            return found
        if "html" in error.response.headers.get("content-type", ""):  # these services answer in JSON; a proxy's page, or a login's, is not theirs
            return foreign(way, f"HTTP {status}, a web page")
        known = {400: self._bad_request, 401: self._unauthenticated, 403: self._forbidden, 404: self._not_found}
        found = known.get(status, self._refused)(error)
        found.hop, found.proxy = way.address, way.proxy
        return found

    def _bad_request(self, error: openai.APIStatusError) -> RagError:
        if error.code == "content_filter":
            return self.filtered(_categories(error.body))
        if error.code == "context_length_exceeded":
            return ModelError("The request is longer than the model reads.", setting="retrieval.context_tokens", hint="Lower it.")
        return self._refused(error)

    def _refused(self, error: openai.APIStatusError) -> RagError:
        if error.status_code == 409:
            return ServiceUnavailableError("The model's service failed (HTTP 409).", setting=self._key("api_base"), hint="Try again later.")
        code = f", {error.code}" if isinstance(error.code, str) and _WORD.fullmatch(error.code) else ""
        hint = f"Check that the model takes such requests, and {self._key('api_version')}." if self._azure else "Check that the model takes such requests."
        return ModelError(f"The model's service refused the request (HTTP {error.status_code}{code}).", setting=f"{self._section}.model", hint=hint)

    def _unauthenticated(self, _error: openai.APIStatusError) -> RagError:
        if self._identity:
            text = "The model's service accepts neither the identity's token nor a new one (HTTP 401)."
            return ModelCredentialsError(text, setting="azure.scope", hint="Check scope and tenant: the token must be meant for this resource.")
        hint = f"Check it, and that it is a key of the resource in {self._key('api_base')}."
        return ModelCredentialsError("The model's service does not accept the API key (HTTP 401).", setting=self._key("api_key"), hint=hint)

    def _forbidden(self, _error: openai.APIStatusError) -> RagError:
        if self._identity:
            hint = "Give it the role Cognitive Services OpenAI User on the resource, and let the resource's firewall admit this machine or its proxy."
            return ModelCredentialsError("The identity may not use this model (HTTP 403).", setting="azure.client_id", hint=hint)
        hint = "Ask for access to the resource: it may take no keys, or not admit this machine's address, or its proxy's."
        return ModelCredentialsError("The API key may not use this model (HTTP 403).", setting=self._key("api_key"), hint=hint)

    def _not_found(self, _error: openai.APIStatusError) -> RagError:
        noun = "deployment" if self._azure else "model"
        text = f"The service knows no {noun} {self._cfg.deployed!r} (HTTP 404)."
        setting = self._key("deployment" if self._cfg.deployment else "model")
        return ConfigurationError(text, setting=setting, hint=f"Check it, {self._key('api_base')} and {self._key('api_version')}.")


def unsupported_option(error: openai.BadRequestError, options: frozenset[str]) -> str | None:
    """The name of the optional parameter that this model, or this API version, does not know; None if it is about something else."""
    if isinstance(error.param, str) and error.param in options and str(error.code) in _UNSUPPORTED:
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
