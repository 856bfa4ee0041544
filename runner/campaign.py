"""A campaign: manifest, catalogue and operations bound together, expanded lazily into jobs.

Owns the expansion: for each product and each variant of each target one ``JobSpec`` with rendered parameters and a fingerprint. Finds every
error that can be found without spending; problems are collected, and raised together by ``raise_problems``. Knows no ledger, submits nothing.

A job is addressed by its *slot*: product number x variants of the target + variant. The jobs of one product are its *bundle*.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from runner.bounds import USUAL, InputLimits
from runner.checks import ProblemBook, check_static
from runner.errors import ManifestError, TemplateError, UsageError
from runner.fingerprint import AssetDigests, field_digests, fingerprint
from runner.manifest.model import Manifest, TargetSpec
from runner.model import JSON, Asset, Cell, MediaInfo, MediaKind, Product
from runner.naming import fold, job_key, split_job_key
from runner.parameters import (
    Media,
    MediaFiles,
    Parameter,
    Wrong,
    compile_parameters,
    is_link,
    link_problems,
    media_parameters,
    stands_for_file,
    validated,
)
from runner.placing import Placing
from runner.products import product_record, read_products
from runner.seams import JobResult, Operation
from runner.templates import PromptBook, Record, Template, Templates
from runner.variants import Variant, variants_of

KEPT_BUNDLES = 512
TITLE_FIELDS = ("title", "Title", "name", "Name", "product_name")


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job as the manifest asks for it."""

    key: str
    target: str
    number: int
    """The product's number in the catalogue, from 0."""
    variant: int
    product: Product
    title: str
    cell: Cell
    operation: str
    lane: str
    needs: Mapping[str, str]
    """Needed target -> key of the upstream job."""
    params: Mapping[str, JSON]
    """Rendered and validated; deferred ones stand in as ``needs.still.files.image``. Local files are still paths."""
    deferred: frozenset[str]
    fields: Mapping[str, str]
    """Parameter (or ``needs.still``) -> short digest."""
    fingerprint: str
    path: str
    """Artifact path without extension, relative to ``artifacts/``."""
    credits: float | None
    seconds: float
    """Expected processing time."""
    weight: int
    """Slots that it takes."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A target, ready for expansion."""

    spec: TargetSpec
    operation: Operation
    parameters: tuple[Parameter, ...]
    deferred: frozenset[str]
    media: tuple[Media, ...]
    variants: tuple[Variant, ...]


class Campaign:
    """See the module. Make one with ``Campaign.open``; close it to drop the spooled catalogue."""

    def __init__(
        self, manifest: Manifest, operations: Mapping[str, Operation], digests: AssetDigests, limits: InputLimits = USUAL
    ) -> None:
        self.manifest = manifest
        self.targets: Mapping[str, TargetSpec] = manifest.targets
        self.problems = ProblemBook()
        self.media = MediaFiles(manifest.root, digests, limits)
        self._digests = digests
        self._templates = Templates(limits)
        self._bundles: OrderedDict[int, tuple[JobSpec, ...]] = OrderedDict()
        self._numbers: dict[str, int] | None = None
        self._vars = Record(manifest.vars, "vars")
        self.variants, found = variants_of(manifest)
        self.problems.add(found)
        self.problems.add(check_static(manifest, operations, self.variants, self._templates))
        self._prompts = self._compile_prompts()
        self._compiled = self._compile_targets(operations)
        self._placing = Placing(manifest, self.variants, self._templates, self.problems)
        self._dependants = self._reverse_needs()
        self.catalogue = read_products(manifest, self._templates, self._vars, self.problems, limits)

    @classmethod
    def open(
        cls, manifest: Manifest, operations: Mapping[str, Operation], digests: AssetDigests, limits: InputLimits = USUAL
    ) -> Campaign:
        """Bind and check all that does not depend on products. Raises ``ManifestError`` with every problem."""
        campaign = cls(manifest, operations, digests, limits)
        try:
            campaign.raise_problems()
        except ManifestError:
            campaign.close()
            raise
        return campaign

    def close(self) -> None:
        """Drop the spooled catalogue."""
        self.catalogue.close()

    def __len__(self) -> int:
        return len(self.catalogue)

    def raise_problems(self) -> None:
        """Raise ``ManifestError`` when anything was found wrong so far."""
        problems = self.problems.problems()
        if problems:
            raise ManifestError(problems)

    # ------------------------------------------------------------------------------------------------- compiling

    def _compile_prompts(self) -> PromptBook:
        templates: dict[str, Template] = {}
        for name, prompt in self.manifest.prompts.items():
            try:
                templates[name] = self._templates.compile(prompt.text.value, mark=prompt.text.mark)
            except TemplateError as error:
                self.problems.template(error, prompt.text.mark)
        return PromptBook(templates)

    def _compile_targets(self, operations: Mapping[str, Operation]) -> dict[str, _Compiled]:
        compiled: dict[str, _Compiled] = {}
        for name, spec in self.targets.items():
            operation = operations.get(spec.uses)
            if operation is None:
                continue  # reported by the static checks
            try:
                parameters = compile_parameters(spec, self._templates)
            except TemplateError as error:
                self.problems.template(error, error.mark or spec.params_mark)
                continue
            compiled[name] = _Compiled(
                spec,
                operation,
                parameters,
                self._deferred(parameters),
                media_parameters(operation.facts.parameters),
                self.variants[name],
            )
        return compiled

    def _deferred(self, parameters: Sequence[Parameter]) -> frozenset[str]:
        """Parameters that use ``needs``, directly or through a prompt: their values are known only at run time."""
        return frozenset(
            parameter.name
            for parameter in parameters
            if any(self._uses_needs(template, set()) for template, _ in parameter.templates)
        )

    def _uses_needs(self, template: Template, seen: set[str]) -> bool:
        for reference in template.references():
            if reference.root == "needs":
                return True
            if reference.root == "prompts" and reference.name not in seen:
                seen.add(reference.name)
                prompt = self.manifest.prompts.get(reference.name)
                try:
                    inner = self._templates.compile(prompt.text.value, mark=prompt.text.mark) if prompt else None
                except TemplateError:
                    continue  # noted when the prompts were compiled
                if inner is not None and self._uses_needs(inner, seen):
                    return True
        return False

    def _reverse_needs(self) -> dict[tuple[str, int], tuple[tuple[str, int], ...]]:
        found: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for name, variants in self.variants.items():
            for variant in variants:
                for need, index in variant.needs.items():
                    found.setdefault((need, index), []).append((name, variant.index))
        return {key: tuple(value) for key, value in found.items()}

    # ------------------------------------------------------------------------------------------------- addressing

    def lane_of(self, target: str) -> str:
        """The lane that runs the target: its provider's account."""
        return self.targets[target].uses.partition("/")[0]

    def slot(self, spec: JobSpec) -> int:
        """The job's slot in its target."""
        return spec.number * len(self.variants[spec.target]) + spec.variant

    def spec_at(self, target: str, slot: int) -> JobSpec:
        """The job in a slot. Raises ``UsageError`` when the catalogue changed under the run."""
        number, variant = divmod(slot, len(self.variants[target]))
        for spec in self.bundle(number):
            if spec.variant == variant and spec.target == target:
                return spec
        raise UsageError(
            f"{target}: product {number + 1} cannot be expanded any more", hint="an input file changed during the run"
        )

    def upstream_slots(self, target: str, slot: int) -> Iterator[tuple[str, int]]:
        """(target, slot) of everything that the job in this slot needs."""
        number, variant = divmod(slot, len(self.variants[target]))
        for need, index in self.variants[target][variant].needs.items():
            yield need, number * len(self.variants[need]) + index

    def dependants(self, target: str, slot: int) -> Iterator[tuple[str, int]]:
        """(target, slot) of everything that needs the job in this slot."""
        number, variant = divmod(slot, len(self.variants[target]))
        for name, index in self._dependants.get((target, variant), ()):
            yield name, number * len(self.variants[name]) + index

    def find(self, key: str) -> tuple[JobSpec, int] | None:
        """The job with this key and its slot; None when the manifest or the catalogue no longer has it."""
        try:
            name = split_job_key(key)
        except ValueError:
            return None
        if self._numbers is None:
            self._numbers = {product.key: number for number, product in enumerate(self.catalogue)}
        number = self._numbers.get(name.product)
        if number is None or name.target not in self.variants:
            return None
        for spec in self.bundle(number):
            if spec.key == key:
                return spec, self.slot(spec)
        return None

    # ------------------------------------------------------------------------------------------------- expanding

    def bundle(self, number: int) -> tuple[JobSpec, ...]:
        """All jobs of one product, upstream before downstream. Jobs that cannot be expanded are missing and noted as problems."""
        known = self._bundles.get(number)
        if known is None:
            known = self._bundles[number] = self._expand(number)
            if len(self._bundles) > KEPT_BUNDLES:
                self._bundles.popitem(last=False)
        return known

    def _expand(self, number: int) -> tuple[JobSpec, ...]:
        product = self.catalogue[number]
        record = product_record(product)
        specs: dict[tuple[str, int], JobSpec] = {}
        for name, compiled in self._compiled.items():
            for variant in compiled.variants:
                spec = self._expand_one(compiled, variant, number, product, record, specs)
                if spec is not None:
                    specs[name, variant.index] = spec
        return tuple(specs.values())

    def _expand_one(
        self,
        compiled: _Compiled,
        variant: Variant,
        number: int,
        product: Product,
        record: Record,
        specs: Mapping[tuple[str, int], JobSpec],
    ) -> JobSpec | None:
        upstream = {need: specs.get((need, index)) for need, index in variant.needs.items()}
        needs = {need: spec for need, spec in upstream.items() if spec is not None}
        if len(needs) < len(upstream):
            return None  # its upstream's problem is reported
        target = compiled.spec
        context = self._context(target, variant, record, {need: self._promise(spec) for need, spec in needs.items()})
        values = self._render(compiled, context, product)
        if values is None:
            return None
        facts = compiled.operation.facts
        params, wrong = validated(facts, values, compiled.deferred)
        assets, infos, more = self._open_media(compiled, params, needs)
        if wrong or more:
            self._note(target, product, [*wrong, *more])
            return None
        fields = field_digests(params, {name: asset.sha256 for name, asset in assets.items()})
        fields |= {f"needs.{need}": need_digest(spec.fingerprint) for need, spec in needs.items()}
        known = {name: value for name, value in params.items() if name not in compiled.deferred}
        seconds = next((info.seconds for info in infos.values() if info.kind is MediaKind.AUDIO), None)
        clash = fold(product.key) in self.catalogue.clashing
        path = self._placing.path(target.name, variant, product, context, clash=clash)
        if path is None:
            return None
        return JobSpec(
            key=job_key(target.name, product.key, variant.cell),
            target=target.name,
            number=number,
            variant=variant.index,
            product=product,
            title=_title(product),
            cell=variant.cell,
            operation=target.uses,
            lane=self.lane_of(target.name),
            needs={need: spec.key for need, spec in needs.items()},
            params=params,
            deferred=compiled.deferred,
            fields=fields,
            fingerprint=fingerprint(target.uses, fields, take=_take(variant)),
            path=path,
            credits=self._price(compiled, known, seconds),
            seconds=facts.typical_seconds,
            weight=compiled.operation.slots(known),
        )

    def _price(self, compiled: _Compiled, params: Mapping[str, JSON], seconds: float | None) -> float | None:
        """Credits: the manifest's price if it states one, else the operation's estimate. A budget needs one of them."""
        lane, _, operation = compiled.spec.uses.partition("/")
        limits = self.manifest.limits.get(lane)
        if limits and operation in limits.prices:
            return limits.prices[operation]
        price = compiled.operation.price(params, seconds)
        if price is None and limits and limits.budget is not None:
            message = f"{lane} has a budget, but the price of {compiled.spec.uses} is not known"
            self.problems.parameter(limits.mark, message, f"state what one job costs: prices: {{ {operation}: CREDITS }}")
        return price

    def _context(
        self, target: TargetSpec, variant: Variant, record: Record, needs: Mapping[str, Mapping[str, object]]
    ) -> dict[str, object]:
        context: dict[str, object] = {
            "product": record,
            "vars": self._vars,
            "matrix": Record(variant.values, "matrix"),
            "needs": Record({need: Record(view, f"needs.{need}") for need, view in needs.items()}, "needs"),
            "target": target.name,
            "campaign": self.manifest.name,
            "take": variant.values.get("take", 1),
        }
        context["prompts"] = self._prompts.bind(context)
        return context

    def _promise(self, spec: JobSpec) -> Mapping[str, object]:
        """What an upstream job will offer, by name: planning uses it where the real thing is not there yet."""
        facts = self._compiled[spec.target].operation.facts
        stand_in = f"needs.{spec.target}"
        return {
            "remote_id": f"{stand_in}.remote_id",
            "files": {output.name: f"{stand_in}.files.{output.name}" for output in facts.outputs},
            "values": {name: f"{stand_in}.values.{name}" for name in facts.values},
        }

    def _render(self, compiled: _Compiled, context: Mapping[str, object], product: Product) -> dict[str, JSON] | None:
        values: dict[str, JSON] = {}
        good = True
        for parameter in compiled.parameters:
            try:
                value = parameter.render(context)
            except TemplateError as error:
                self.problems.template(error, error.mark or parameter.mark, product=product.key)
                good = False
                continue
            if value is not None:
                values[parameter.name] = value
        return values if good else None

    def _open_media(
        self, compiled: _Compiled, params: Mapping[str, JSON], needs: Mapping[str, JobSpec]
    ) -> tuple[dict[str, Asset], dict[str, MediaInfo], list[Wrong]]:
        assets: dict[str, Asset] = {}
        infos: dict[str, MediaInfo] = {}
        wrong: list[Wrong] = []
        for media in compiled.media:
            value = params.get(media.name)
            if not isinstance(value, str) or not value.strip():
                continue  # an empty one is refused by its model
            if media.name in compiled.deferred:
                wrong += self._check_promise(media, value, needs)
            elif is_link(value):
                wrong += link_problems(media, value)
            else:
                asset, info, problems = self.media.asset(media, value)
                wrong += problems
                if asset and info:
                    assets[media.name], infos[media.name] = asset, info
        return assets, infos, wrong

    def _check_promise(self, media: Media, value: str, needs: Mapping[str, JobSpec]) -> list[Wrong]:
        found = stands_for_file(value, needs)
        if found is None:
            return []
        need, name = found
        outputs = {output.name: output for output in self._compiled[needs[need].target].operation.facts.outputs}
        made = outputs[name].kind
        if made is not media.rule.kind:
            return [Wrong(media.name, f"{media.name} takes {media.rule.kind.value}, but {value} is {made.value}")]
        if media.rule.sends == "url":
            hint = "publishing files from here is not supported yet: use a link from the catalogue"
            return [Wrong(media.name, f"{value} is a local file, but the provider fetches {media.name} from a public link", hint)]
        return []

    def _note(self, target: TargetSpec, product: Product, wrong: Sequence[Wrong]) -> None:
        for item in wrong:
            top = item.parameter.partition(".")[0]
            node = target.params.get(top)
            place = (node.key_mark if item.unknown else node.content) or node.mark if node else target.params_mark
            self.problems.parameter(place, f"{target.name}: {item.message}", item.hint, product=product.key)

    def require_distinct_paths(self) -> None:
        """Raise ``ManifestError`` when two jobs would write the same artifact. May look at every job once more."""
        clash = self._placing.clash(self._all)
        if clash:
            self.problems.add([clash])
            self.raise_problems()

    def _all(self) -> Iterator[JobSpec]:
        for number in range(len(self)):
            yield from self.bundle(number)

    # ------------------------------------------------------------------------------------------------- submitting

    def materialise(
        self, spec: JobSpec, results: Mapping[str, JobResult], artifacts: Path
    ) -> tuple[Mapping[str, JSON], Mapping[str, Asset]]:
        """The job's parameters with upstream results filled in, local files apart. ``artifacts`` is where the upstream files lie.

        Raises ``TemplateError`` or ``UsageError`` when the job cannot be submitted like this.
        """
        compiled = self._compiled[spec.target]
        params: Mapping[str, JSON] = spec.params
        if compiled.deferred:
            needs = {need: _result_view(result, artifacts) for need, result in results.items()}
            record = product_record(spec.product)
            context = self._context(compiled.spec, compiled.variants[spec.variant], record, needs)
            values = {p.name: p.render(context) for p in compiled.parameters}
            params, wrong = validated(
                compiled.operation.facts, {name: value for name, value in values.items() if value is not None}, frozenset()
            )
            _refuse(spec, wrong)
        media: dict[str, Asset] = {}
        for rule in compiled.media:
            value = params.get(rule.name)
            if isinstance(value, str) and not is_link(value):
                asset, _, wrong = self.media.asset(rule, value)
                _refuse(spec, wrong)
                if asset:
                    media[rule.name] = asset
        return {name: value for name, value in params.items() if name not in media}, media


def need_digest(fingerprint: str) -> str:
    """What a job's fingerprint says of an upstream job's inputs, as short as a parameter's digest."""
    return fingerprint[:10]


def _result_view(result: JobResult, artifacts: Path) -> Mapping[str, object]:
    known = {"remote_id": result.remote_id} if result.remote_id else {}  # lost by a damaged ledger: asking for it is an error
    return {
        **known,
        "files": {name: str((artifacts / stored.path).absolute()) for name, stored in result.artifacts.items()},
        "values": MappingProxyType(dict(result.values)),
    }


def _refuse(spec: JobSpec, wrong: Sequence[Wrong]) -> None:
    if wrong:
        hints = " ".join(item.hint for item in wrong if item.hint)
        raise UsageError(f"{spec.key}: " + "; ".join(item.message for item in wrong), hint=hints)


def _title(product: Product) -> str:
    for name in TITLE_FIELDS:
        value = product.fields.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()[:200]
    return product.key


def _take(variant: Variant) -> int:
    take = variant.values.get("take", 1)
    return take if isinstance(take, int) else 1
