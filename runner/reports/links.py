"""Relative addresses of our own files, and whether a stored path may be followed at all.

Owns the one way in which a path becomes a URL: every part percent-encoded, nothing else ever becomes one. A path that leads out
of the artifacts folder, by itself or through a link on disk, is never opened nor shown as a link.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote


def relative_url(target: Path, base: Path) -> str:
    """``target`` as seen from the folder ``base``, percent-encoded; a file URL where no relative way exists (other drive)."""
    try:
        relative = os.path.relpath(target, base)
    except ValueError:
        return target.absolute().as_uri()
    return "/".join(quote(os.fsencode(part), safe="") for part in Path(relative).parts) or "."


def inner_url(path: str) -> str:
    """An artifact's path (relative, with ``/``) percent-encoded part by part; empty when it could lead out of its folder."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\x00" in part for part in parts):
        return ""
    try:
        return "/".join(quote(part.encode("utf-8", "surrogateescape"), safe="") for part in parts)
    except UnicodeEncodeError:
        return ""


def inside(folder: Path, path: str) -> Path | None:
    """The file that an artifact's path names, links resolved; None when it is not below ``folder``."""
    if not inner_url(path):
        return None
    try:
        root = folder.resolve()
        found = (root / path).resolve()
    except (OSError, ValueError, RuntimeError):
        return None
    return found if found.is_relative_to(root) else None
