"""Names: which product keys are usable, how job keys are written, and which file names every system can hold.

Owns three spellings of a text: as part of a job key (reversible), as part of a file name (safe, one way), and folded (what
two names have in common when a file system takes them for the same). Pure: no I/O, and the same answer on every machine,
whatever its Unicode tables and file system say.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import NamedTuple

from runner.errors import TemplateError
from runner.model import Cell

MAX_KEY_CHARS = 500
"""A longer product key is a column chosen by mistake (a description, a page)."""

MAX_COMPONENT_BYTES = 80
"""Of UTF-8, suffix included: leaves room for decomposed letters and an extension below the usual 255."""

MAX_PATH_BYTES = 200
"""Of UTF-8, without the extension: Windows still stops at 260 characters, the run's folder included."""

_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_BIDI = "\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDI}]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")

# What separates and selects (`/ , = : ~ + % * ? [ ] !`), all white space and controls. Written out, because a job key is
# kept for years and must not depend on the Unicode tables of the Python that reads it.
_MEANING = re.compile(rf"[/,=:~+%*?\[\]!\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000{_BIDI}\ud800-\udfff]")
_ENCODED = re.compile(r"(?:%[0-9A-F]{2})+")

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE | re.DOTALL)
_SUFFIX = re.compile(r"~[0-9a-f]{8}")
_DIGEST_CHARS = 8


class JobName(NamedTuple):
    """A job key taken apart. A take stands in ``cell`` as its last axis, ``("take", "2")``."""

    target: str
    product: str
    cell: Cell


# ------------------------------------------------------------------------------------------------------ product keys


def key_problem(key: str) -> str | None:
    """Why ``key`` cannot be a product's key, in words that follow "the key ..."; None when it can.

    Spaces, slashes, any script, emoji and names that Windows reserves are fine: they are spelled safely where it matters.
    """
    if not key.strip().strip(_INVISIBLE).strip():
        return "is empty"
    if len(key) > MAX_KEY_CHARS:
        return f"is {len(key)} characters long; {MAX_KEY_CHARS} is the most"
    if _SURROGATE.search(key):
        return "holds half of a surrogate pair, which is no character"
    if found := _CONTROL.search(key):
        return f"holds the control character U+{ord(found[0]):04X}"
    return _escape(key)


def _escape(text: str) -> str | None:
    """How ``text`` would leave the folder it is joined to, were it taken for a path; None when it would not."""
    if text[:1] in ("/", "\\") and text:
        return f"begins with {text[0]}, which names a place outside the folder"
    if _DRIVE.match(text):
        return f"begins with the drive {text[:2]}"
    if text.startswith(("~/", "~\\")):
        return "begins with ~/, which names a home folder"
    if ".." in re.split(r"[\\/]", text):
        return "holds .. as a part of a path, which leads out of the folder"
    return None


# ---------------------------------------------------------------------------------------------------------- job keys


def encode_key(key: str) -> str:
    """``key`` with every character that means something in a job key or selector as ``%XX`` of its UTF-8 bytes."""
    return _MEANING.sub(_percent, key)


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def decode_key(text: str) -> str:
    """The key that ``encode_key`` wrote as ``text``. Raises ``ValueError`` for a ``%`` that does not begin such a byte."""
    if "%" not in text:
        return text
    if "%" in _ENCODED.sub("", text):
        raise ValueError(f"{text!r} holds a % that is not followed by two upper-case hex digits; write %25 for %")
    return _ENCODED.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "surrogatepass"), text)


def job_key(target: str, product: str, cell: Cell, take: int | None = None) -> str:
    """``target/product/axis=value,axis=value``; without axes and takes it ends after the product."""
    axes = cell if take is None else (*cell, ("take", str(take)))
    parts = [encode_key(target), encode_key(product)]
    if axes:
        parts.append(",".join(f"{encode_key(axis)}={encode_key(value)}" for axis, value in axes))
    return "/".join(parts)


def split_job_key(key: str) -> JobName:
    """The parts of what ``job_key`` wrote. Raises ``ValueError`` when ``key`` is not such a key."""
    target, slash, rest = key.partition("/")
    product, more, axes = rest.partition("/")
    if not slash or "/" in axes or (more and not axes):
        raise ValueError(f"{key!r} is not a job key; they look like target/product/axis=value")
    cell = tuple(_split_axis(key, pair) for pair in axes.split(",")) if axes else ()
    return JobName(decode_key(target), decode_key(product), cell)


def _split_axis(key: str, pair: str) -> tuple[str, str]:
    axis, equals, value = pair.partition("=")
    if not equals or "=" in value:
        raise ValueError(f"{key!r} is not a job key: {pair!r} should be axis=value")
    return decode_key(axis), decode_key(value)


# -------------------------------------------------------------------------------------------------------- file names


def fold(text: str) -> str:
    """What a file system may reduce a name to: two names with the same fold may be the same file somewhere."""
    if text.isascii():
        return text.lower()
    # Folding can undo normalisation and the other way round; the second round settles both.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", text)


def path_component(text: str, *, clash: bool = False) -> str:
    """A file name part for ``text``, at most 80 bytes, good on Linux, macOS and Windows.

    Ordinary text of ``[A-Za-z0-9._-]`` comes out unchanged. Anything else is made readable and ends in ``~`` and eight hex
    digits of its digest, so that two texts do not get one name even where names are normalised or case is ignored. Two
    ordinary texts that differ only in case do need ``clash=True``. This is for raw text: ``~`` itself is altered, so no text
    can pose as the name of another. A path that holds finished components goes through ``safe_path``.
    """
    if not clash and _is_ordinary(text):
        return text
    return _altered(text, text)


def safe_path(rendered: str) -> str:
    """A relative path with ``/`` for text that a template rendered, each part treated as by ``path_component``.

    Parts that already hold finished components (``~`` and eight hex digits) pass unchanged, so the function may be applied
    again. At most 200 bytes; a longer path loses folders and its last part gets a digest of the whole. Raises
    ``TemplateError`` for a path that is empty, absolute, has an empty part, or leads out of the folder.
    """
    parts = [part for part in rendered.split("/") if part != "."]
    reason = _escape(rendered)
    if reason is None and (not parts or not all(part.strip() for part in parts)):
        reason = "is empty" if not rendered.strip(" ./") else "has an empty part between two /"
    if reason is not None:
        raise TemplateError(f"the path {_shown(rendered)} {reason}", hint="write a relative path in which every part has a value")
    path = "/".join(part if _is_finished(part) else _altered(part, part) for part in parts)
    return path if len(path.encode()) <= MAX_PATH_BYTES else _shortened(path, rendered)


def _shortened(path: str, rendered: str) -> str:
    """``path`` within the limit: as many leading folders as fit before the last part, which then stands for the whole."""
    *folders, last = path.split("/")
    name = _altered(_SUFFIX.sub("", last), rendered)
    room = MAX_PATH_BYTES - len(name.encode())
    kept = []
    for folder in folders:
        room -= len(folder.encode()) + 1
        if room < 0:
            break
        kept.append(folder)
    return "/".join([*kept, name])


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_COMPONENT_BYTES else text[:MAX_COMPONENT_BYTES] + "…")


def _is_ordinary(text: str) -> bool:
    return (
        len(text) <= MAX_COMPONENT_BYTES
        and _PLAIN.fullmatch(text) is not None
        and not text.endswith(".")
        and _RESERVED.fullmatch(text) is None
    )


def _is_finished(part: str) -> bool:
    """Whether ``part`` is ordinary text, or text built around finished components.

    Up to the last suffix anything that ``_readable`` keeps may stand, because digests tell it apart; after it only ordinary text.
    """
    *before, tail = _SUFFIX.split(part)
    if not before:
        return _is_ordinary(part)
    return (
        before[0] != ""
        and len(part.encode("utf-8", "surrogatepass")) <= MAX_COMPONENT_BYTES
        and all(_readable(stem) == stem for stem in before)
        and (not tail or _PLAIN.fullmatch(tail) is not None)
        and not part.endswith(".")
        and _RESERVED.fullmatch(part) is None
    )


def _altered(text: str, exact: str) -> str:
    """The readable form of ``text`` with the digest of ``exact``."""
    digest = hashlib.sha256(exact.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    stem = _readable(text).strip(" ._") or "_"
    if _RESERVED.fullmatch(stem):
        stem = f"_{stem}"
    # A cut may leave half a character, which "ignore" drops.
    stem = stem.encode()[: MAX_COMPONENT_BYTES - _DIGEST_CHARS - 1].decode("utf-8", "ignore")
    return f"{stem}~{digest}"


def _readable(text: str) -> str:
    """``text`` in NFC with only letters, marks, decimal digits and ``._-``; runs of anything else become one ``_``."""
    normal = unicodedata.normalize("NFC", text)
    kept = "".join(letter if _is_kept(letter) else "\0" for letter in normal)
    return re.sub("\0+", "_", kept)


def _is_kept(letter: str) -> bool:
    if letter.isascii():
        return letter.isalnum() or letter in "._-"
    return unicodedata.category(letter)[0] in "LM" or unicodedata.category(letter) == "Nd"
