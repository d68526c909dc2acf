"""Encode arguments, results and event data as JSON text, and decode them to the types that a job declares."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any, Final

import msgspec

from aioruns.errors import ConfigurationError

__all__ = ["MAX_VALUE", "Decoder", "NotStorable", "decode", "decoder_for", "encode"]

MAX_VALUE: Final = 1024 * 1024
"""The most bytes of JSON for the arguments or the result of a run."""


class NotStorable(ConfigurationError):
    """The value has no JSON form, or its JSON is too large."""


def _to_builtin(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if (dump := getattr(value, "model_dump", None)) is not None:  # pydantic, without importing it
        return dump(mode="json")
    raise NotImplementedError(f"objects of type {type(value).__name__} have no JSON form")


def _from_builtin(hint: type[Any], value: Any) -> Any:
    if issubclass(hint, PurePath):
        return hint(value)
    if (validate := getattr(hint, "model_validate", None)) is not None:
        return validate(value)
    raise NotImplementedError(f"objects of type {hint.__name__} cannot be read back from JSON")


_encoder = msgspec.json.Encoder(enc_hook=_to_builtin)
_decoder = msgspec.json.Decoder()

Decoder = msgspec.json.Decoder


def encode(value: Any, *, what: str, limit: int = MAX_VALUE) -> str:
    """Encode a value as JSON text.

    Args:
        value: Anything that msgspec encodes, a path, or a pydantic model.
        what: How the error message names the value, e.g. ``"the result"``.
        limit: The most bytes that the text may take.

    Raises:
        NotStorable: The value has no JSON form, or its JSON is too large.
    """
    try:
        raw = _encoder.encode(value)
    except BaseException as error:  # the value's own code runs here and may raise anything
        raise NotStorable(f"{what} cannot be stored as JSON: {_shown(error)}") from error
    if len(raw) > limit:
        raise NotStorable(f"{what} takes {len(raw):,} bytes as JSON; at most {limit:,} are stored: store a reference")
    return raw.decode()


def _shown(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - the error's own code runs here and may raise anything
        return type(error).__name__


def decode(text: str) -> Any:
    """Decode JSON text to plain values."""
    return _decoder.decode(text)


def decoder_for(hint: Any) -> Decoder[Any]:
    """Make a decoder that reads JSON as the type that a hint names.

    Raises:
        TypeError: msgspec does not support the hint.
    """
    return msgspec.json.Decoder(hint, dec_hook=_from_builtin)
