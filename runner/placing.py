"""Where results go: one artifact path for each job, safe and different on every system.

Owns the default paths, the rendering of ``artifacts.path``, and the check that no two jobs share one. Writes nothing.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Protocol

from runner.checks import ProblemBook
from runner.errors import Mark, Problem, TemplateError
from runner.manifest.model import Manifest
from runner.model import JSON, Product
from runner.naming import fold, job_key, path_component, safe_path
from runner.templates import Record, Template, Templates
from runner.variants import Variant


class Placed(Protocol):
    """A job that has a path."""

    @property
    def key(self) -> str:
        """The job's key."""
        ...

    @property
    def path(self) -> str:
        """Relative, without extension."""
        ...


class Placing:
    """The paths of one campaign. Problems go into ``problems``."""

    def __init__(
        self, manifest: Manifest, variants: Mapping[str, tuple[Variant, ...]], templates: Templates, problems: ProblemBook
    ) -> None:
        self._problems = problems
        self._template: Template | None = None
        self._mark = Mark(str(manifest.path), 1, 1)
        text = manifest.artifact_path
        if text is not None:
            self._mark = text.mark
            try:
                self._template = templates.compile(text.value, mark=text.mark)
            except TemplateError as error:
                problems.template(error, text.mark)
        self._names = _default_names(variants)

    def path(self, target: str, variant: Variant, product: Product, context: Mapping[str, object], *, clash: bool) -> str | None:
        """The job's path without extension; None when it cannot be made, which is noted. ``clash`` when another key differs in case only."""
        if self._template is None:
            return f"{path_component(product.key, clash=clash)}/{self._names[target, variant.index]}"
        safe = Record(_SafeValues(product.fields, product.key, clash=clash), "product")
        try:
            return safe_path(self._template.render({**context, "product": safe}))
        except TemplateError as error:
            self._problems.template(error, self._mark, product=product.key)
        except ValueError as error:
            self._problems.parameter(self._mark, f"the artifact path is unusable: {error}", product=product.key)
        return None

    def clash(self, jobs: Callable[[], Iterator[Placed]]) -> Problem | None:
        """The first two jobs that would write the same artifact. ``jobs`` starts a new pass over all of them."""
        if self._template is None:
            return None  # default paths are made different
        ordered = sorted(array("q", (hash(fold(job.path)) for job in jobs())))
        twice = {a for a, b in pairwise(ordered) if a == b}
        first: dict[str, Placed] = {}
        for job in jobs() if twice else ():
            name = fold(job.path)
            if hash(name) in twice and (other := first.setdefault(name, job)).key != job.key:
                hint = "put what tells them apart into the path, such as {{ target }}, {{ matrix.AXIS }} or {{ take }}"
                message = f"{other.key} and {job.key} would both be written to {job.path}"
                return Problem(self._mark, message, hint, "same-path")
        return None


def _default_names(variants: Mapping[str, tuple[Variant, ...]]) -> dict[tuple[str, int], str]:
    """(target, variant) -> what the default path ends with: different for each, whatever the values hold."""
    names = {
        (target, variant.index): safe_path("-".join([target, *(path_component(value) for _, value in variant.cell)]))
        for target, cells in variants.items()
        for variant in cells
    }
    times = Counter(fold(name) for name in names.values())
    return {
        (target, index): name
        if times[fold(name)] == 1
        else path_component(job_key(target, name, variants[target][index].cell), clash=True)
        for (target, index), name in names.items()
    }


class _SafeValues(Mapping[str, object]):
    """A product's fields as file name parts: a slash in a title never makes a folder."""

    def __init__(self, fields: Mapping[str, JSON], key: str, *, clash: bool) -> None:
        self._fields = fields
        self._key = path_component(key, clash=clash)

    def __getitem__(self, name: str) -> object:
        if name == "key":
            return self._key
        value = self._fields[name]
        return path_component(value) if isinstance(value, str) and value.strip() else value

    def __iter__(self) -> Iterator[str]:
        return iter({**self._fields, "key": self._key})

    def __len__(self) -> int:
        return len({**self._fields, "key": self._key})
