"""The registry of providers: which exist, what they can do, and how to get one.

A literal table, checked by the type checker. An adapter's module is loaded when it is first asked for, so that importing this package
costs nothing. Adding a provider means: one module that has what ``Adapter`` wants, and one line in ``_ADAPTERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from runner.errors import UsageError
from runner.seams import OperationFacts, Provider, ProviderFacts


class Adapter(Protocol):
    """What every adapter module offers."""

    @property
    def FACTS(self) -> ProviderFacts:  # noqa: N802 -- a constant of the module
        """What is known of the provider."""
        ...

    @property
    def OPERATIONS(self) -> tuple[OperationFacts, ...]:  # noqa: N802 -- a constant of the module
        """What it can do."""
        ...

    def connect(self, credentials: Mapping[str, str], *, marker_base: str = "") -> Provider:
        """The adapter bound to one account. ``marker_base`` is where a marker link points when no callback is wanted."""
        ...


def _akool() -> Adapter:
    from runner.providers import akool

    return akool


def _creatify() -> Adapter:
    from runner.providers import creatify

    return creatify


def _kling() -> Adapter:
    from runner.providers import kling

    return kling


def _topview() -> Adapter:
    from runner.providers import topview

    return topview


_ADAPTERS: Final[Mapping[str, Callable[[], Adapter]]] = {
    "akool": _akool,
    "creatify": _creatify,
    "kling": _kling,
    "topview": _topview,
}


def provider_names() -> tuple[str, ...]:
    """Every provider's name, in alphabetical order."""
    return tuple(_ADAPTERS)


def connect(name: str, credentials: Mapping[str, str], *, marker_base: str = "") -> Provider:
    """The adapter ``name``, bound to one account. ``credentials`` as the settings name them (``api_key`` ...); empty ones make an
    adapter that can check and price, but not call.

    Raises ``UsageError`` for an unknown name.
    """
    if name not in _ADAPTERS:
        raise UsageError(f"there is no provider {name!r}", hint=f"use one of: {', '.join(_ADAPTERS)}")
    return _ADAPTERS[name]().connect(credentials, marker_base=marker_base)


def operation_facts() -> dict[str, OperationFacts]:
    """All operations of all providers by their full name (``kling/avatar``)."""
    return {facts.name: facts for adapter in _ADAPTERS.values() for facts in adapter().OPERATIONS}


def provider_facts() -> dict[str, ProviderFacts]:
    """What is known of each provider, by name."""
    return {name: adapter().FACTS for name, adapter in _ADAPTERS.items()}
