"""Answers as JSON: exact decimals as numbers, times in UTC with a Z, nothing that JavaScript could misread as an instruction."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.responses import Response

_OPTIONS = orjson.OPT_UTC_Z
_LARGEST = 2**63


def encode(answer: BaseModel) -> bytes:
    """`answer` as JSON."""
    return orjson.dumps(_plain(answer), default=_plain, option=_OPTIONS | orjson.OPT_PASSTHROUGH_SUBCLASS)


def reply(answer: BaseModel, status: int = 200) -> Response:
    """`answer` as an HTTP response; nothing may keep it, it is about now."""
    return json_response(encode(answer), status)


def json_response(content: bytes, status: int = 200) -> Response:
    """JSON that is ready to be sent."""
    return Response(content, status, media_type="application/json", headers={"Cache-Control": "no-store"})


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _exact(inner) for name, inner in value.__dict__.items()}
    return _exact(value)


def _exact(value: Any) -> Any:
    """Numbers that JSON can hold and the library cannot: decimals, and integers beyond 64 bits."""
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value)) if value.is_finite() else str(value)
    if type(value) is int and not -_LARGEST <= value < _LARGEST:
        return orjson.Fragment(str(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
