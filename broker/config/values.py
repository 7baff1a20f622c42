"""What single values look like in an environment variable.

Belongs here: parsers from text to a typed value. Each raises ``ValueError`` with a message for the
operator that says what is allowed and, where the value may be a secret, does not repeat it.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from broker.config.problems import did_you_mean
from broker.config.settings import EncryptionKey

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T", bound=str)

ENCRYPTION_KEY_BYTES = 32

_MAX_PORT = 65535
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_URL_SAFE = str.maketrans("-_", "+/")


def endpoint(text: str) -> tuple[str, int]:
    """Parse ``host:port``; an IPv6 address is in brackets. Returns it without them."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= _MAX_PORT and _is_host(host)):
        raise ValueError(
            f"is {text!r}; write an address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 "
            "or [::]:8080 to listen on every address."
        )
    return host.strip("[]"), int(port)


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return False
        return True
    return _HOST_NAME.fullmatch(host) is not None


def label(text: str) -> str:
    """Check a name that is stored with instances."""
    if not _LABEL.fullmatch(text):
        raise ValueError(
            f"is {text[:80]!r}; use lower-case letters, digits and '-', at most 63 characters."
        )
    return text


def choice(allowed: tuple[_T, ...]) -> Callable[[str], _T]:
    """Make a parser that accepts these words, in upper or lower case."""

    def parse(text: str) -> _T:
        for word in allowed:
            if word == text.lower():
                return word
        hint = did_you_mean(text, allowed)
        raise ValueError(f"is {text[:80]!r}; allowed are {', '.join(allowed)}.{hint}")

    return parse


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Make a parser for a whole number in this range."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not minimum <= int(text) <= maximum:
            raise ValueError(f"is {text[:80]!r}; write a whole number from {minimum} to {maximum}.")
        return int(text)

    return parse


def seconds(minimum: int, maximum: int) -> Callable[[str], timedelta]:
    """Make a parser for seconds in this range, with or without decimals."""

    def parse(text: str) -> timedelta:
        number = float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else -1.0
        if not minimum <= number <= maximum:
            raise ValueError(f"is {text[:80]!r}; write seconds from {minimum} to {maximum}.")
        return timedelta(seconds=number)

    return parse


def encryption_keys(text: str) -> tuple[EncryptionKey, ...]:
    """Parse ``id:base64`` entries, separated by commas or white space; the first encrypts."""
    keys: dict[str, EncryptionKey] = {}
    for number, entry in enumerate(re.split(r"[,\s]+", text.strip(" \t\r\n,")), start=1):
        key = _encryption_key(entry, number)
        if key.id in keys:
            raise ValueError(f"has the id {key.id!r} twice; every key needs an id of its own.")
        if any(key.key == other.key for other in keys.values()):
            raise ValueError(f"has the same key under two ids, {key.id!r} is the second of them.")
        keys[key.id] = key
    return tuple(keys.values())


def _encryption_key(entry: str, number: int) -> EncryptionKey:
    key_id, colon, encoded = entry.partition(":")
    if not colon or not _KEY_ID.fullmatch(key_id):
        raise ValueError(
            f"entry {number} is not 'id:key'; the id has letters, digits, '.', '_' and '-', at "
            f"most 32. {_HOW_TO_MAKE_ONE}"
        )
    try:
        key = base64.b64decode(encoded.translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != ENCRYPTION_KEY_BYTES:
        raise ValueError(
            f"the key {key_id!r} is not {ENCRYPTION_KEY_BYTES} bytes in base64. {_HOW_TO_MAKE_ONE}"
        )
    if len(set(key)) == 1:
        raise ValueError(f"the key {key_id!r} is one byte repeated. {_HOW_TO_MAKE_ONE}")
    return EncryptionKey(key_id, key)


_HOW_TO_MAKE_ONE = 'Make one with: echo "k1:$(openssl rand -base64 32)"'
