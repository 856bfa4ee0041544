"""What a template asks the context for.

Owns one value. Free of Jinja2, so that checks can speak of references without loading it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reference:
    """One access: ``needs.still.files.image`` is root ``needs``, name ``still``, rest ``('files', 'image')``.

    ``line`` counts from 1 in the template's own text; ``column`` from 1, 0 when it could not be found. ``name`` is empty where only
    the root stands, or where the name is worked out at run time. ``soft`` when the template copes with its absence
    (``is defined``, ``default``).
    """

    root: str
    name: str
    line: int
    column: int
    soft: bool = False
    rest: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join(part for part in (self.root, self.name, *self.rest) if part)
