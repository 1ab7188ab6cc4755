"""RFC 9457 problem documents: the one table from our errors to HTTP statuses, and how a problem is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from .. import errors
from ..telemetry.logger import get_logger
from ..telemetry.redaction import redact
from .openai.shapes import error_of, is_openai_path

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:rag:problem:"
"""A problem's ``type`` is this and the error's stable code, such as ``urn:rag:problem:not-found``."""

STATUS: Mapping[type[errors.RagError], int] = {
    errors.RagError: 500,
    errors.ConfigurationError: 500,
    errors.UnsupportedFeatureError: 501,
    errors.MissingExtraError: 501,
    errors.ForeignServiceError: 502,
    errors.InputError: 400,
    errors.PayloadTooLargeError: 413,
    errors.AuthenticationError: 401,
    errors.PermissionDeniedError: 403,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.LimitExceededError: 422,
    errors.DocumentError: 422,
    errors.IndexMissingError: 503,
    errors.IndexMismatchError: 503,
    errors.StorageError: 500,
    errors.StorageFullError: 507,
    errors.StorageLockedError: 503,
    errors.ServiceUnavailableError: 503,
    errors.DeadlineExceededError: 504,
    errors.ServiceCredentialsError: 502,
    errors.ModelError: 502,
    errors.ContentFilteredError: 422,
    errors.ResourceClosedError: 503,
}
"""Status of each kind of error; a kind that is not listed has its parent's."""

HTTP_CODES: Mapping[int, str] = {
    400: "bad-input",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    416: "bad-range",
    421: "misdirected",
    422: "invalid",
    429: "too-many-requests",
}
RETRY_AFTER_S = 5
"""What 503 answers tell a client to wait."""


def status_of(error: errors.RagError) -> int:
    """The HTTP status of an error: its own, or that of its nearest listed ancestor."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def request_id(scope: Scope) -> str:
    """The correlation id that `RequestContext` gave this request; empty outside of one."""
    found: str = scope.get("state", {}).get("request_id", "")
    return found


def problem(status: int, code: str, detail: str, scope: Scope, **more: Any) -> dict[str, Any]:
    """One problem document; empty members are left out."""
    body = {
        "type": f"{TYPE_PREFIX}{code}",
        "title": code.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": scope.get("raw_path", b"").decode("ascii", "replace"),
        "code": code,
        **more,
        "correlation_id": request_id(scope),
    }
    return {key: value for key, value in body.items() if value not in ("", None, [])}


def problem_of(error: BaseException, scope: Scope) -> dict[str, Any]:
    """The problem document of an error. What is not ours says nothing but its correlation id; the log has the rest."""
    if isinstance(error, errors.RagError):
        more = {name: getattr(error, name, "") for name in ("reason", "param")}
        status = status_of(error)
        if error.plain:
            return problem(status, error.code, error.plain, scope)
        # What a service said may be part of it; what a caller got wrong is their own.
        message, hint = (redact(error.message), redact(error.hint)) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else (error.message, error.hint)
        return problem(status, error.code, message, scope, hint=hint, setting=error.setting, **more)
    if isinstance(error, HTTPException):
        return problem(error.status_code, HTTP_CODES.get(error.status_code, "http"), str(error.detail), scope)
    return problem(500, "internal", "Something went wrong in the server. Its log tells more under the correlation id.", scope)


def log_problem(error: BaseException, body: Mapping[str, Any]) -> None:
    """Log a failure of ours under its correlation id; what the caller got wrong is in the access log already."""
    if body["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
        trace = None if isinstance(error, errors.RagError) else error
        said: dict[str, Any] = {"said": error.said} if isinstance(error, errors.ServiceCredentialsError) and error.said else {}
        log.error("request failed", correlation_id=body.get("correlation_id"), error=type(error).__name__, detail=error, exc_info=trace, **said)


def respond(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A problem document as a response; on the paths of OpenAI's API in its shape."""
    extra = {"Cache-Control": "no-store", **(headers or {})}
    if body["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
        extra["Retry-After"] = str(RETRY_AFTER_S)
    if is_openai_path(str(body.get("instance", ""))):
        status, error = error_of(body)
        return JSONResponse(error, status, extra)
    return JSONResponse(dict(body), body["status"], extra, media_type=MEDIA_TYPE)


def respond_to(error: BaseException, scope: Scope) -> Response:
    """The response to an error, logged where it is the server's."""
    body = problem_of(error, scope)
    log_problem(error, body)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, errors.AuthenticationError):
        headers["WWW-Authenticate"] = error.challenge if isinstance(error, ChallengeError) else "Bearer"
    return respond(body, headers)


class ChallengeError(errors.AuthenticationError):
    """A request without usable credentials, and the ``WWW-Authenticate`` challenge that says what is."""

    def __init__(self, message: str, *, challenge: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.challenge = challenge


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    async def ours(request: Request, error: Exception) -> Response:
        return respond_to(error, request.scope)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return respond_http(app, request.scope, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return respond(validation_problem(error.errors(), request.scope))

    app.add_exception_handler(errors.RagError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def respond_http(app: FastAPI, scope: Scope, error: HTTPException) -> Response:
    """The framework's own refusals, with what the caller needs to go on."""
    path = scope["path"]
    if isinstance(error.__cause__, errors.RagError):
        return respond_to(error.__cause__, scope)
    if error.status_code == HTTPStatus.NOT_FOUND and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return respond(problem(404, "not-found", f"There is nothing at {path}.", scope, hint="GET /openapi.json lists what there is."))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = sorted(allowed_methods(app, scope))
        detail = f"{scope['method']} is not possible at {path}; {', '.join(allowed)} is."
        return respond(problem(405, "method-not-allowed", detail, scope), {"Allow": ", ".join(allowed)})
    return respond_to(error, scope)


def allowed_methods(app: FastAPI, scope: Scope) -> set[str]:
    """Methods that the path of a request takes. The framework names only those of the first route of that path."""
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    return {method for method in methods if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)}


def validation_problem(found: Sequence[Any], scope: Scope) -> dict[str, Any]:
    """400 for a body that is not JSON, else 422 with one entry for each field that is wrong. Values are never echoed."""
    broken = [entry for entry in found if entry["type"] == "json_invalid"]
    if broken:
        return problem(400, "bad-input", f"The body is not JSON: {broken[0]['ctx']['error']}.", scope)
    entries = [_entry(error) for error in found]
    return problem(422, "invalid", " ".join(_sentence(entry) for entry in entries[:5]), scope, errors=entries)


def _entry(error: Mapping[str, Any]) -> dict[str, str]:
    place, *path = error["loc"]
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "model_attributes_type" or (place == "body" and not path and error["type"] == "missing"):
        message = "A JSON object is needed, sent with Content-Type: application/json."
    where = {"pointer": "#" + "".join(f"/{_pointer(part)}" for part in path)} if place == "body" else {"parameter": ".".join(map(str, path))}
    return {"detail": message, **where}


def _pointer(part: object) -> str:
    """One step of a JSON pointer. A name of the caller's may hold what UTF-8 does not (a lone surrogate)."""
    return str(part).replace("~", "~0").replace("/", "~1").encode("utf-8", "replace").decode()


def _sentence(entry: Mapping[str, str]) -> str:
    name = (entry.get("pointer", "").removeprefix("#/") or entry.get("parameter", "")).strip("#")
    text = f"{name}: {entry['detail']}" if name else entry["detail"]
    return text if text.endswith((".", "?")) else f"{text}."


def nearest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for a name that nearly exists, else nothing."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1)
    return f" Did you mean {near[0]!r}?" if near else ""
