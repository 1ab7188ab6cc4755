"""JSON for OpenSearch by orjson: bytes in and out, numpy's float32 in the shortest form that reads back exactly."""

from __future__ import annotations

import json
from typing import Any

import orjson

from .....errors import InputError

OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def dumps(value: object) -> bytes:
    """JSON as the connection sends it.

    What orjson refuses (lone surrogates, keys that are not text, integers beyond 64 bits) goes through the standard library,
    which writes surrogates as ASCII escapes; the server reads those.

    Raises:
        InputError: the value cannot be written as JSON at all.
    """
    try:
        return orjson.dumps(value, option=OPTIONS)
    except TypeError:
        return _by_standard_library(value)


def loads(data: bytes) -> Any:
    """The value of an answer. Integers beyond 64 bits come back as floats: send those that must stay exact as text.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)  # escapes of lone surrogates


def _by_standard_library(value: object) -> bytes:
    try:
        return json.dumps(value, default=_plain, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"This cannot be written as JSON: {error}.") from error


def _plain(value: Any) -> Any:
    # By way of orjson, so that a float32 keeps its shortest form: float(numpy.float32(0.1)) would write 0.10000000149011612.
    return orjson.loads(orjson.dumps(value, option=OPTIONS))
