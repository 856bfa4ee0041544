"""The moments at which a server can fail, as scripts for ``Hangup``, and a certificate that nobody vouches for."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hangup import Visit, mute


async def slam(visit: Visit) -> None:
    """Closes as soon as the connection is made."""
    visit.writer.close()


async def close_after_head(visit: Visit) -> None:
    """Closes when the head has come."""
    await visit.head()


async def close_after_body(visit: Visit) -> None:
    """Closes when the whole request has come."""
    await visit.head()
    await visit.body()


async def reset_after_body(visit: Visit) -> None:
    """Resets when the whole request has come."""
    await visit.head()
    await visit.body()
    visit.reset()


async def reset_in_answer(visit: Visit) -> None:
    """Resets in the middle of the answer."""
    await visit.head()
    await visit.body()
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    visit.reset()


async def silent(visit: Visit) -> None:
    """Takes the request and says nothing."""
    await visit.head()
    await visit.body()
    await mute(visit)


async def half_head(visit: Visit) -> None:
    """Closes in the middle of the answer's head."""
    await visit.head()
    await visit.body()
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Le")


async def half_body(visit: Visit) -> None:
    """Closes in the middle of the announced body."""
    await visit.head()
    await visit.body()
    await visit.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"code":')


async def half_chunks(visit: Visit) -> None:
    """Closes before the last chunk."""
    await visit.head()
    await visit.body()
    await visit.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{"code"\r\n')


async def stalled_body(visit: Visit) -> None:
    """Stops in the middle of the body and stays."""
    await half_body(visit)
    await mute(visit)


async def not_http(visit: Visit) -> None:
    """Answers in another protocol."""
    await visit.head()
    await visit.body()
    await visit.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def endless_head(visit: Visit) -> None:
    """Answers with headers without end."""
    await visit.head()
    await visit.body()
    await visit.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        await visit.send(b"X-%d: %s\r\n" % (number, b"a" * 1000))


async def answer_once_then_close_on_the_next(visit: Visit) -> None:
    """Keeps the connection, and drops it the moment the next request's bytes arrive."""
    await visit.head()
    await visit.body()
    await visit.answer()
    await visit.reader.read(1)
    visit.reset()


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server context with a certificate for 127.0.0.1 that only ``cert.pem`` vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=3))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
