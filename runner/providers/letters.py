"""Opens the bodies of callbacks, without trusting any of it.

Owns the reading of a callback's JSON and the opening of Akool's sealed ones (A-HOOK). Pure. It raises ``Refused`` for what is malformed or
forged, and never anything else; what a letter means is its adapter's decision.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from runner.errors import Refused
from runner.model import JSON
from runner.providers.replies import code_at, document, text_at
from runner.seams import Response

_BLOCK: Final = 16
_KEY_SIZES: Final = (16, 24, 32)
_HINT: Final = "nothing to do: polling goes on without it"


def malformed(title: str, what: str) -> Refused:
    """The error for a callback that cannot be used; ``what`` never repeats any of it."""
    return Refused(f"{title}: a callback was not used: {what}", cause="bad_input", hint=_HINT)


def parsed(body: bytes | str, title: str) -> Mapping[str, JSON]:
    """The JSON object that a callback's body is. Raises ``Refused``."""
    raw = body if isinstance(body, bytes) else body.encode("utf-8", "replace")
    letter = document(Response(200, {}, raw))
    if not isinstance(letter, Mapping):
        raise malformed(title, "it is no JSON object")
    return letter


@dataclass(frozen=True, slots=True)
class Opened:
    """A sealed letter whose signature was right. ``millis``: when it says that it was sealed (Unix milliseconds, 0 when unreadable)."""

    content: Mapping[str, JSON]
    millis: float
    signature: str


@dataclass(frozen=True, slots=True)
class Seal:
    """Akool's seal (A-HOOK): SHA-1 over the sorted parts, AES-CBC under the client's secret."""

    client_id: str
    client_secret: str = field(repr=False)

    def open(self, letter: Mapping[str, JSON], title: str) -> Opened:
        """Check the signature, then decrypt. Raises ``Refused``."""
        stamp, nonce, hidden = code_at(letter, "timestamp"), code_at(letter, "nonce"), text_at(letter, "dataEncrypt")
        signature = text_at(letter, "signature").lower()
        if not (stamp and hidden and signature):
            raise malformed(title, "it is not sealed as the provider seals")
        parts = "".join(sorted((self.client_id, stamp, nonce, hidden)))
        wanted = hashlib.sha1(parts.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
        if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace")):
            raise malformed(title, "its signature is wrong (check the client id, or somebody else sent it)")
        millis = float(stamp) if stamp.isascii() and stamp.isdigit() and len(stamp) < 16 else 0.0
        return Opened(parsed(self._decrypted(hidden, title), title), millis, signature)

    def _decrypted(self, hidden: str, title: str) -> bytes:
        """AES-CBC, PKCS#7. The secret's bytes are the key and their number chooses the kind of AES; the first 16 bytes of the client
        id are the vector. Whatever is too short is filled with zeros, as the vendor's own demo does.
        """
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.padding import PKCS7

        try:
            sealed = base64.b64decode(hidden, validate=True)
        except (binascii.Error, ValueError):
            sealed = b""
        if not sealed or len(sealed) % _BLOCK:
            raise malformed(title, "its sealed part is torn")
        vector = self.client_id.encode()[:_BLOCK].ljust(_BLOCK, b"\0")
        decryptor = Cipher(algorithms.AES(_key(self.client_secret)), modes.CBC(vector)).decryptor()
        plain = decryptor.update(sealed) + decryptor.finalize()
        unpadder = PKCS7(_BLOCK * 8).unpadder()
        try:
            return unpadder.update(plain) + unpadder.finalize()
        except ValueError:
            raise malformed(title, "it cannot be opened (check the client secret)") from None


def _key(secret: str) -> bytes:
    raw = secret.encode()
    size = next((size for size in _KEY_SIZES if len(raw) <= size), _KEY_SIZES[-1])
    return raw[:size].ljust(size, b"\0")
