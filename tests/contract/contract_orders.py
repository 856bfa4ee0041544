"""From a row of the table to a submission: files made, parameters read as the manifest's door reads them, upstream records produced."""

from __future__ import annotations

from dataclasses import dataclass

from contract_media import asset, picture, sound
from contract_stage import Account, At, Stage
from contract_table import ROWS, Row

from runner.media import probe
from runner.model import JSON, Asset, MediaKind, Phase, Submission
from runner.parameters import media_parameters, upstream_parameters, validated
from runner.providers import operation_facts
from runner.seams import Operation
from runner.simulator.options import SIMULATED_CREDENTIALS

CREDENTIALS = {
    "kling": {name: SIMULATED_CREDENTIALS["kling"][name] for name in ("access_key", "secret_key")},
    "creatify": dict(SIMULATED_CREDENTIALS["creatify"]),
    "topview": dict(SIMULATED_CREDENTIALS["topview"]),
    "akool": dict(SIMULATED_CREDENTIALS["akool"]),
}
"""Kling and Akool with the credentials that make tokens."""


@dataclass(frozen=True, slots=True)
class Order:
    """One job that can be submitted."""

    row: Row
    operation: Operation
    submission: Submission
    sound_seconds: float | None

    @property
    def estimate(self) -> float | None:
        """What the adapter thinks that it costs."""
        return self.operation.price(self.submission.params, self.sound_seconds)


def at(stage: Stage, row: Row, *, through_root: bool = False) -> At:
    """The row's provider on this stage, with the credentials that the stage knows."""
    return At(stage, row.provider, credentials=CREDENTIALS[row.provider], through_root=through_root)


def first_row(operation: str) -> Row:
    """The operation's first row."""
    return next(row for row in ROWS if row.operation == operation)


async def order(account: Account, row: Row, *, callback: str | None = None) -> Order:
    """A job of this row, with everything upstream done."""
    operation = account.operation(row.operation)
    facts = operation_facts()[row.operation]
    media = _files(account, row)
    values: dict[str, JSON] = {**row.params, **{name: str(one.path) for name, one in media.items()}}
    for name, rule in upstream_parameters(facts.parameters).items():
        if name not in values:
            values[name] = await finished(account, first_row(rule.operations[0]))
    params, wrong = validated(facts, values, frozenset())
    assert not wrong, wrong
    remaining = {name: value for name, value in params.items() if name not in media}
    length = next((probe(one.path).seconds for one in media.values() if one.format == "wav"), None)
    return Order(row, operation, account.submission(remaining, media, callback=callback), length)


async def finished(account: Account, row: Row) -> str:
    """The remote id of a job of this row that succeeded."""
    for _ in range(30):
        upstream = await order(account, row)
        accepted = await account.submit(upstream.operation, upstream.submission)
        seen = await account.finish(upstream.operation, accepted.remote_id)
        if seen.phase is Phase.SUCCEEDED:
            return accepted.remote_id
    raise AssertionError(f"{row.name} never succeeds")


def _files(account: Account, row: Row) -> dict[str, Asset]:
    rules = {media.name: media.rule for media in media_parameters(operation_facts()[row.operation].parameters)}
    made = {}
    for name, form in row.media.items():
        path = account.stage.folder / f"{name}.{form}"
        if not path.exists():
            picture(path, form=form) if rules[name].kind is MediaKind.IMAGE else sound(path, form=form)
        made[name] = asset(path)
    return made
