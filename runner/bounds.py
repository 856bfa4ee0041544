"""How much of a hostile or broken input is taken before it is refused.

Owns ``InputLimits``, its defaults, the name of the variable that changes each, and which ``.env`` files count. Plain values: reads no environment and no file (``settings`` does), checks
nothing by itself. Every part that reads what strangers wrote is handed one of these, and names the variable in its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEEPEST: Final = 200
"""The most that ``manifest_depth`` may be: what was read is walked by functions that call themselves."""
LIMIT_PREFIX: Final = "CALLSHEET_LIMITS__"
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class InputLimits:
    """One value per limit; ``CALLSHEET_LIMITS__<NAME>`` sets it."""

    template_chars: int = 1_000_000
    """Characters (or list elements) of one value; a rendering may take four units of work for each of them."""
    template_seconds: float = 2.0
    """For one rendering, the prompts within it included."""
    template_text_chars: int = 200_000
    """Characters of a template's own text."""
    manifest_bytes: int = 10 * _MIB
    """One manifest or included file."""
    manifest_nodes: int = 200_000
    """Values in one manifest file, every alias counted as often as it is used."""
    manifest_depth: int = 64
    """Levels of lists and mappings within each other."""
    manifest_files: int = 200
    """A manifest with everything that it includes."""
    matrix_cells: int = 4096
    """Combinations that the axes of one target make."""
    prompt_bytes: int = _MIB
    """One prompt file."""
    catalogue_value_chars: int = _MIB
    """One value of a CSV, TSV or Shopify file; one item of a Google Merchant feed."""
    catalogue_line_chars: int = 16 * _MIB
    """One line of a CSV, TSV, Shopify or JSON lines file."""
    catalogue_file_bytes: int = 512 * _MIB
    """A JSON catalogue: it is read in one piece."""
    catalogue_yaml_bytes: int = 32 * _MIB
    """A YAML catalogue: it is read in one piece, and takes many times its size in memory."""
    catalogue_yaml_nodes: int = 100_000
    """Values of one product in a YAML catalogue, aliases counted as often as they are used."""
    catalogue_xml_elements: int = 10_000
    """Elements of one item in a Google Merchant feed."""
    media_pixels: int = 100_000_000
    """Width times height of a picture or a video's frame."""
    media_frames: int = 2_000
    """Frames of a video or an animation that are decoded to check a result; the others are read without decoding."""
    media_decoded_pixels: int = 200_000_000
    """Pixels that are decoded to check a result, over all its frames."""
    media_audio_frames: int = 100_000
    """Frames of sound that are decoded to check a result; about half an hour."""
    callback_bytes: int = 256 * 1024
    """The body of one callback; a larger one is answered with 413, and polling finds out."""
    callback_seconds: float = 10.0
    """For one caller's connection, from its first byte to its end."""
    callback_connections: int = 256
    """Callers at the same time; others are turned away."""


USUAL: Final = InputLimits()
"""The defaults."""


def env_files(root: Path) -> tuple[Path, ...]:
    """The ``.env`` files that count for a manifest in ``root`` (or at it): its folder's, then the working folder's."""
    folder = root if root.is_dir() else root.parent
    return tuple(dict.fromkeys([folder.resolve() / ".env", Path.cwd() / ".env"]))


def size_shown(count: int) -> str:
    """A number of bytes in words: ``10 MB``, or every digit when it is not whole."""
    return f"{count:,} bytes" if count % _MIB else f"{count // _MIB:,} MB"


def raised_by(name: str) -> str:
    """The last words of a hint: how a person allows more. ``name`` is a field of ``InputLimits``."""
    return f"set {LIMIT_PREFIX}{name.upper()} to allow more"
