"""Prompts by name, rendered when a template asks for them.

Owns the lazy view behind ``{{ prompts.motion }}``: rendered at most once for each context, with the same data as the template that
asks, and never inside itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from runner.errors import TemplateError
from runner.templates.record import LazyText
from runner.templates.template import Template


class PromptBook:
    """The prompts of a manifest."""

    __slots__ = ("_templates",)

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._templates: Final = templates

    def bind(self, context: Mapping[str, object]) -> BoundPrompts:
        """The prompts over one complete context: ``context["prompts"] = book.bind(context)``.

        They see the context as it is now. It is copied, because a circle of references for each of a million jobs would have to
        be found and collected again.
        """
        return BoundPrompts(self._templates, dict(context))


class BoundPrompts(LazyText):
    """Prompt name -> its text for one context. Reading raises ``TemplateError`` as rendering does."""

    __slots__ = ("_context", "_done", "_templates", "_under_way")

    def __init__(self, templates: Mapping[str, Template], context: Mapping[str, object]) -> None:
        self._templates = templates
        self._context = context
        self._done: dict[str, str] = {}
        self._under_way: list[str] = []

    def __getitem__(self, name: str) -> str:
        text = self._done.get(name)
        if text is None:
            text = self._done[name] = self._render(name)
        return text

    def _render(self, name: str) -> str:
        template = self._templates[name]
        if name in self._under_way:
            circle = [*self._under_way[self._under_way.index(name) :], name]
            raise TemplateError(
                f"the prompt `{name}` uses itself: {' -> '.join(circle)}",
                mark=template.mark,
                hint="Take one of these uses out, or put the shared part into a prompt of its own.",
            )
        self._under_way.append(name)
        try:
            return template.render({**self._context, "prompts": self})
        finally:
            self._under_way.pop()

    def __contains__(self, name: object) -> bool:
        return name in self._templates

    def __iter__(self) -> Iterator[str]:
        return iter(self._templates)

    def __len__(self) -> int:
        return len(self._templates)

    def __repr__(self) -> str:
        return "<prompts>"
