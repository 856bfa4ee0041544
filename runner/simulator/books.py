"""What the pretend providers took, charged, refused and broke. Counts only; the truth that "never pay twice" is tested by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ProviderBooks:
    """The counts of one provider."""

    submissions: int = 0
    charged_credits: float = 0.0
    refunded_credits: float = 0.0
    charged_by_key: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    callbacks: Counter[str] = field(default_factory=Counter)
    media: Counter[str] = field(default_factory=Counter)
    uploads: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain values for the admin page."""
        return {
            "submissions": self.submissions,
            "charged_credits": round(self.charged_credits, 6),
            "refunded_credits": round(self.refunded_credits, 6),
            "charged_by_key": dict(self.charged_by_key),
            "requests": dict(self.requests),
            "refusals": dict(self.refusals),
            "faults": dict(self.faults),
            "callbacks": dict(self.callbacks),
            "media": dict(self.media),
            "uploads": self.uploads,
        }


class Books:
    """The counts of all providers, by name."""

    def __init__(self, providers: tuple[str, ...]) -> None:
        self.by_provider = {name: ProviderBooks() for name in providers}

    def __getitem__(self, provider: str) -> ProviderBooks:
        return self.by_provider[provider]

    def charged_more_than_once(self) -> dict[str, int]:
        """Every handle, as ``provider:handle``, that was accepted and charged more than once."""
        return {
            f"{name}:{handle}": count
            for name, books in self.by_provider.items()
            for handle, count in books.charged_by_key.items()
            if count > 1
        }
