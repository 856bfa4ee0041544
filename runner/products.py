"""The products of a campaign: its catalogue as the manifest asks for it, with derived fields, filtered.

Owns the way from ``catalogue:`` to numbered products. What is wrong goes into the book of problems; nothing is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runner.bounds import USUAL, InputLimits
from runner.catalogue import Catalogue
from runner.checks import ProblemBook
from runner.errors import CatalogueError, ManifestError, Mark, Problem, TemplateError
from runner.manifest.model import Manifest
from runner.model import JSON, Product
from runner.sources import open_source
from runner.templates import Record, Template, Templates


def product_record(product: Product) -> Record:
    """The product as templates see it."""
    return Record({**product.fields, "key": product.key}, "product")


def read_products(
    manifest: Manifest, templates: Templates, variables: Record, problems: ProblemBook, limits: InputLimits = USUAL
) -> Catalogue:
    """Read the catalogue; empty when it could not be read, which is noted."""
    spec = manifest.catalogue
    file = (spec.source or str(spec.path)) if spec.path is not None else str(manifest.path)

    def context(product: Product) -> Mapping[str, object]:
        return {"product": product_record(product), "vars": variables}

    try:
        where = templates.expression(spec.where.value, mark=spec.where.mark) if spec.where else None
        derive = {name: templates.compile(text.value, mark=text.mark) for name, text in spec.fields.items()}
        return Catalogue.read(
            _rows(manifest, limits),
            file=file,
            key=spec.key,
            keep=_Keeper(where, context, problems) if where else None,
            derive={name: _Deriver(template, context, problems) for name, template in derive.items()},
        )
    except ManifestError as error:
        problems.add(_at_its_path(problem, file, spec.path) for problem in error.problems)
    except CatalogueError as error:
        problems.catalogue(error, spec.mark)
    except TemplateError as error:
        problems.template(error, error.mark or spec.mark)
    return Catalogue.read(iter(()), file=file, key=spec.key)


def _at_its_path(problem: Problem, file: str, path: Path | None) -> Problem:
    """A catalogue is known by the name that the manifest gives it; whoever has to correct it needs the way to it."""
    if path is None or problem.mark.file != file:
        return problem
    return replace(problem, mark=replace(problem.mark, file=str(path)))


def _rows(manifest: Manifest, limits: InputLimits) -> Iterator[tuple[int, Mapping[str, JSON]]]:
    spec = manifest.catalogue
    if spec.path is not None:
        yield from open_source(spec.path, spec.format, records=spec.records, limits=limits).rows()
    elif spec.products is not None and isinstance(spec.products.value, tuple):
        for item in spec.products.value:
            row = item.plain()
            if isinstance(row, Mapping):
                yield item.mark.line, row


@dataclass(frozen=True, slots=True)
class _Deriver:
    """A derived column."""

    template: Template
    context: Callable[[Product], Mapping[str, object]]
    problems: ProblemBook

    def __call__(self, product: Product) -> JSON:
        try:
            return self.template.value(self.context(product))
        except TemplateError as error:
            _note(self.problems, self.template, error, product)
            return ""


@dataclass(frozen=True, slots=True)
class _Keeper:
    """The condition ``where``. What it cannot judge is kept: the problem is noted."""

    template: Template
    context: Callable[[Product], Mapping[str, object]]
    problems: ProblemBook

    def __call__(self, product: Product) -> bool:
        try:
            return self.template.test(self.context(product))
        except TemplateError as error:
            _note(self.problems, self.template, error, product)
            return True


def _note(problems: ProblemBook, template: Template, error: TemplateError, product: Product) -> None:
    """A fault of the template stands in the manifest, once, however many rows it meets."""
    problems.template(error, error.mark or template.mark or Mark(product.file, product.row, 1), product=product.key)
