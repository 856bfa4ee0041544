"""Kling's Authorization header: a JWT that the client signs (HS256), or a static API key. Judged in real time (kling.md 1, 4)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.simulator.web import Refusal, Request

REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class Token:
    """A token whose signature was found good; its times are judged at each use."""

    account: str
    expires: float
    not_before: float


class KlingAuth:
    """Names the account behind a request, or refuses with 1000 to 1004."""

    def __init__(self, account: Mapping[str, str], real: Callable[[], float], *, any_credentials: bool) -> None:
        self._known = account
        self._real = real
        self._any = any_credentials
        self._seen: OrderedDict[str, Token] = OrderedDict()

    def account(self, request: Request) -> str:
        """The account's name: the access key, or for static keys a digest."""
        header = request.headers.get("authorization", "")
        if not header.strip():
            raise Refusal("1001")
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token or token != token.strip() or " " in token:
            raise Refusal("1002")
        if token == self._known["api_key"]:
            return self._known["access_key"]
        if token.count(".") == 2:
            return self._signed(token)
        if not self._any:
            raise Refusal("1002")
        return "key-" + hashlib.blake2b(token.encode(), digest_size=6).hexdigest()

    def _signed(self, text: str) -> str:
        token = self._seen.get(text)
        if token is None:
            token = self._seen[text] = self._read(text)
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        now = self._real()
        if token.not_before > now:
            raise Refusal("1003")
        if token.expires <= now:
            raise Refusal("1004")
        return token.account

    def _read(self, text: str) -> Token:
        head, payload, signature = text.split(".")
        header, claims = _part(head), _part(payload)
        issuer = claims.get("iss")
        if header.get("alg") != "HS256" or not isinstance(issuer, str) or not issuer:
            raise Refusal("1002")
        if issuer == self._known["access_key"]:
            secret = self._known["secret_key"].encode()
            expected = hmac.new(secret, f"{head}.{payload}".encode(), hashlib.sha256).digest()
            if not hmac.compare_digest(expected, _bytes(signature)):
                raise Refusal("1002")
        elif not self._any:
            raise Refusal("1002")
        return Token(issuer, _moment(claims, "exp", None), _moment(claims, "nbf", 0.0))


def _bytes(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("1002") from None


def _part(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_bytes(part))
    except (ValueError, RecursionError):
        raise Refusal("1002") from None
    if not isinstance(value, dict):
        raise Refusal("1002")
    return value


def _moment(claims: dict[str, Any], name: str, default: float | None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refusal("1002")
    return float(value)
