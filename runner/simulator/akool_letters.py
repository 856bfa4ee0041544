"""Akool's callbacks as documented: AES-CBC under the client secret, SHA-1 over the sorted parts (akool.md 7)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

AES_SIZES = (16, 24, 32)


def sealed(payload: dict[str, Any], client: str, secret: str, *, millis: int, nonce: str) -> bytes:
    """The body of one callback. A secret that is no AES key is cut or zero-padded to the nearest size, a short client id likewise."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    padder = PKCS7(128).padder()
    plain = padder.update(msgspec.json.encode(payload)) + padder.finalize()
    encryptor = Cipher(algorithms.AES(aes_key(secret)), modes.CBC(client.encode()[:16].ljust(16, b"\0"))).encryptor()
    hidden = base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode()
    signature = hashlib.sha1("".join(sorted((client, str(millis), nonce, hidden))).encode(), usedforsecurity=False).hexdigest()
    return msgspec.json.encode({"signature": signature, "dataEncrypt": hidden, "timestamp": millis, "nonce": nonce})


def aes_key(secret: str) -> bytes:
    """The secret's bytes, at a length that AES takes."""
    raw = secret.encode()
    size = next((size for size in AES_SIZES if len(raw) <= size), AES_SIZES[-1])
    return raw[:size].ljust(size, b"\0")
