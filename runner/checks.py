"""What can be found wrong with a campaign before a single product is looked at, and the book that collects problems.

Owns the checks of names inside templates, of operations and of providers. A book groups what is the same for many products, so that a
mistake in one template is one problem, not a thousand. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from runner.errors import CatalogueError, Mark, Problem, TemplateError
from runner.manifest.model import Manifest, TargetSpec
from runner.parameters import compile_parameter, upstream_parameters
from runner.seams import Operation
from runner.templates import Reference, Template, Templates
from runner.variants import Variant

MOST_PROBLEMS = 200
ROOTS = ("product", "vars", "matrix", "needs", "prompts", "target", "campaign", "take")


@dataclass(slots=True)
class _Entry:
    problem: Problem
    products: list[str]
    count: int = 1


class ProblemBook:
    """Problems so far, grouped: the first product is named, the others are counted."""

    def __init__(self) -> None:
        self._entries: dict[tuple[Mark, str, str], _Entry] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        """Take over problems as they are."""
        for problem in problems:
            self._note(problem, "")

    def template(self, error: TemplateError, mark: Mark, *, product: str = "") -> None:
        """A template that cannot be compiled or rendered; the mark moves to the place within it."""
        mark = error.mark or mark
        if error.line:
            mark = mark.within(error.line, error.column)
        self._note(Problem(mark, error.message, error.hint, "template"), product)

    def parameter(self, mark: Mark, message: str, hint: str = "", *, product: str = "") -> None:
        """A parameter that breaks a rule."""
        self._note(Problem(mark, message, hint, "parameter"), product)

    def catalogue(self, error: CatalogueError, mark: Mark) -> None:
        """A catalogue that cannot be read."""
        where = Mark(error.file, max(1, error.row), 1) if error.file else mark
        self._note(Problem(where, error.message, error.hint, "catalogue"), "")

    def _note(self, problem: Problem, product: str) -> None:
        key = (problem.mark, problem.code, problem.message if not product else problem.message.replace(product, "\0"))
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(problem, [product] if product else [])
        elif product and product not in entry.products:
            entry.count += 1

    def problems(self) -> list[Problem]:
        """All of them in the order of the files, at most 200 (the last one counts the rest)."""
        found = [_with_products(entry) for entry in self._entries.values()]
        found.sort(key=lambda problem: (problem.mark.file, problem.mark.line, problem.mark.column))
        if len(found) > MOST_PROBLEMS:
            rest = len(found) - MOST_PROBLEMS
            last = Problem(found[MOST_PROBLEMS].mark, f"and {rest:,} more problems", "mend these first", "more")
            found = [*found[:MOST_PROBLEMS], last]
        return found


def _with_products(entry: _Entry) -> Problem:
    problem = entry.problem
    if not entry.products:
        return problem
    more = f" and {entry.count - 1:,} more" if entry.count > 1 else ""
    return Problem(problem.mark, f"{problem.message} (product {entry.products[0]}{more})", problem.hint, problem.code)


def check_static(
    manifest: Manifest,
    operations: Mapping[str, Operation],
    variants: Mapping[str, tuple[Variant, ...]],
    templates: Templates,
) -> Iterator[Problem]:
    """Operations, providers and the names that templates use."""
    yield from _check_providers(manifest, operations)
    yield from _check_prices(manifest, operations)
    for target in manifest.targets.values():
        operation = operations.get(target.uses)
        if operation is None:
            yield _unknown_operation(target, operations)
            continue
        yield from _check_names(manifest, target, variants.get(target.name, ()), templates)
        yield from _check_upstream(manifest, target, operation, variants)
    yield from _check_prompt_names(manifest, templates)


def _check_providers(manifest: Manifest, operations: Mapping[str, Operation]) -> Iterator[Problem]:
    known = sorted({name.partition("/")[0] for name in operations})
    for limits in manifest.limits.values():
        if limits.provider not in known:
            hint = _did_you_mean(limits.provider, known) or f"providers: {', '.join(known)}"
            yield Problem(limits.mark, f"there is no provider {limits.provider!r}", hint, "unknown-provider")


def _check_prices(manifest: Manifest, operations: Mapping[str, Operation]) -> Iterator[Problem]:
    for limits in manifest.limits.values():
        known = [name.partition("/")[2] for name in operations if name.startswith(f"{limits.provider}/")]
        for name in limits.prices:
            if known and name not in known:
                hint = _did_you_mean(name, known) or f"{limits.provider} has: {', '.join(sorted(known))}"
                yield Problem(limits.mark, f"prices: {limits.provider} has no operation {name!r}", hint, "unknown-operation")


def _unknown_operation(target: TargetSpec, operations: Mapping[str, Operation]) -> Problem:
    hint = _did_you_mean(target.uses, operations) or "callsheet providers lists all operations"
    return Problem(target.uses_mark, f"there is no operation {target.uses!r}", hint, "unknown-operation")


def _check_names(
    manifest: Manifest, target: TargetSpec, variants: tuple[Variant, ...], templates: Templates
) -> Iterator[Problem]:
    axes = {axis for variant in variants for axis, _ in variant.cell}
    names = {"vars": manifest.vars, "prompts": manifest.prompts, "needs": target.needs, "matrix": axes}
    for name, node in target.params.items():
        try:
            parameter = compile_parameter(name, node, templates)
        except TemplateError:
            continue  # reported when the campaign compiles it
        for template, mark in parameter.templates:
            yield from _check_references(template, mark, names, target.name)


def _check_prompt_names(manifest: Manifest, templates: Templates) -> Iterator[Problem]:
    """A prompt is shared by targets: only what does not depend on the target is checked here."""
    names: Mapping[str, Collection[str]] = {"vars": manifest.vars, "prompts": manifest.prompts}
    for prompt in manifest.prompts.values():
        try:
            template = templates.compile(prompt.text.value, mark=prompt.text.mark)
        except TemplateError:
            continue
        yield from _check_references(template, prompt.text.mark, names, f"the prompt {prompt.name}")


def _check_references(template: Template, mark: Mark, names: Mapping[str, Collection[str]], where: str) -> Iterator[Problem]:
    for reference in sorted(template.references(), key=lambda r: (r.line, r.column, str(r))):
        if reference.soft:
            continue
        if reference.root not in ROOTS:
            hint = _did_you_mean(reference.root, ROOTS) or f"templates know {', '.join(ROOTS)}"
            yield Problem(_at(mark, reference), f"{where}: unknown name {reference.root!r}", hint, "unknown-name")
        elif reference.name and reference.root in names and reference.name not in names[reference.root]:
            yield _unknown_name(reference, mark, names[reference.root], where)


_ADVICE = {
    "vars": "declare it below vars:",
    "prompts": "declare it below prompts:",
    "needs": "add it to the target's needs:",
    "matrix": "declare the axis below matrix:, here or in what it needs",
}


def _unknown_name(reference: Reference, mark: Mark, known: Collection[str], where: str) -> Problem:
    hint = _did_you_mean(reference.name, known, prefix=f"{reference.root}.") or _ADVICE[reference.root]
    return Problem(_at(mark, reference), f"{where}: there is no {reference.root}.{reference.name}", hint, "unknown-name")


def _at(mark: Mark, reference: Reference) -> Mark:
    place = mark.within(reference.line, reference.column)
    return Mark(place.file, place.line, place.column, str(reference))


def _did_you_mean(word: str, choices: Collection[str], prefix: str = "") -> str:
    close = get_close_matches(word, list(choices), n=1)
    return f"did you mean {prefix}{close[0]}?" if close else ""


def _check_upstream(
    manifest: Manifest, target: TargetSpec, operation: Operation, variants: Mapping[str, tuple[Variant, ...]]
) -> Iterator[Problem]:
    """Parameters that take a remote record: of the right operation, and one job per record where the API wants that."""
    for name, rule in upstream_parameters(operation.facts.parameters).items():
        node = target.params.get(name)
        if node is None or not isinstance(node.value, str):
            continue
        for need in target.needs:
            if f"needs.{need}." not in node.value and f"needs['{need}']" not in node.value:
                continue
            upstream = manifest.targets.get(need)
            if upstream and upstream.uses not in rule.operations:
                message = f"{target.name}: {name} takes a record of {' or '.join(rule.operations)}, but {need} is {upstream.uses}"
                yield Problem(node.mark, message, "name a target that makes such a record", "wrong-operation")
            elif rule.once:
                yield from _check_once(target, name, need, variants)


def _check_once(target: TargetSpec, name: str, need: str, variants: Mapping[str, tuple[Variant, ...]]) -> Iterator[Problem]:
    used = [variant.needs[need] for variant in variants.get(target.name, ()) if need in variant.needs]
    if len(used) > len(set(used)):
        node = target.params[name]
        message = f"{target.name}: several of its variants would use the same record of {need}, and one record makes one video"
        yield Problem(node.mark, message, f"give {need} the same matrix, or make takes of {need} instead", "shared-record")
