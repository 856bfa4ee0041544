"""Callback addresses: who can make them, who recognises them, and how long they may be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runner.callbacks import LONGEST_KEY, Attempt, Callbacks, Hearsay, own_port, patience, public_base, require_short
from runner.commands import invoke
from runner.errors import EXIT_USAGE, UsageError
from runner.model import Observation, Phase, Submission
from runner.providers import connect, provider_facts
from runner.seams import Request

BASE = "https://hooks.example.com/callsheet"
KEY = "cs-0123456789abcdef01234567"
OURS = Callbacks(BASE, "0011223344556677")


def path(callbacks: Callbacks, lane: str = "kling", key: str = KEY) -> str:
    """The path that a caller asks for."""
    return urlsplit(callbacks.url(lane, key)).path


def test_an_address_is_recognised_by_every_run_over_its_ledger() -> None:
    """The same ledger makes and knows the same addresses, whatever the public base was."""
    elsewhere = Callbacks("http://127.0.0.1:1", "0011223344556677")
    assert elsewhere.recognised(path(OURS)) == Attempt("kling", KEY)
    assert OURS.url("kling", KEY) == Callbacks(BASE, "0011223344556677").url("kling", KEY)


def test_only_the_ledger_can_make_them() -> None:
    """Another ledger's token for the same attempt, or ours for another lane or key, opens nothing."""
    assert OURS.recognised(path(Callbacks(BASE, "0011223344556678"))) is None
    token = path(OURS).rpartition("/")[2]
    assert OURS.recognised(f"/topview/{KEY}/{token}") is None
    assert OURS.recognised(f"/kling/{KEY}x/{token}") is None
    assert OURS.recognised(f"/klin/gcs-{KEY}/{token}") is None


def test_a_token_is_long_and_every_character_counts() -> None:
    """128 bits; a change anywhere makes it unknown."""
    good = path(OURS)
    token = good.rpartition("/")[2]
    assert len(token) * 6 >= 128
    for place in range(len(good) - len(token), len(good)):
        other = "A" if good[place] != "A" else "B"
        changed = good[:place] + other + good[place + 1 :]
        assert OURS.recognised(changed) is None
    assert "0011223344556677" not in repr(OURS)


@pytest.mark.parametrize(
    "odd", ["", "/", "///", "a", "/a/b", "//x/", "/kling//" + "A" * 22, "/\ud800/b/c", "/x" * 5000, "/ü/ü/ü"]
)
def test_odd_paths_belong_to_nobody(odd: str) -> None:
    """No path makes the check stumble."""
    assert OURS.recognised(odd) is None


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://h.example.com", "https://h.example.com"),
        (" https://h.example.com/a/b/ ", "https://h.example.com/a/b"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("https://[2001:db8::1]:443/x", "https://[2001:db8::1]:443/x"),
    ],
)
def test_public_addresses(text: str, base: str) -> None:
    """What a person writes, without the slash at its end."""
    assert public_base(text) == base


@pytest.mark.parametrize(
    "text",
    ["", "hooks.example.com", "ftp://h/x", "https://", "https:///x", "https://h/x?y=1", "https://h/#f", "https://h:0/", "https://h:99999/",
     "https://u:p@h/", "https://h/a b", "https://h/\n", "https://hö.example/", "https://[::1/", "javascript:alert(1)", "https://h\\x"],
)  # fmt: skip
def test_what_is_no_public_address(text: str) -> None:
    """Refused with a message that says what to write."""
    with pytest.raises(UsageError) as caught:
        public_base(text)
    assert "--callbacks https://" in caught.value.hint


def sent_address(params: Mapping[str, str], callback: str, key: str) -> str:
    """The ``webhook_url`` that Creatify's adapter really sends."""
    operation = connect("creatify", {"api_id": "i", "api_key": "k"}).operations["product-image"]
    request = next(operation.submit(Submission(key, params, callback_url=callback)))
    assert isinstance(request, Request)
    assert isinstance(request.json, dict)
    return str(request.json["webhook_url"])


def test_the_longest_base_that_creatify_takes() -> None:
    """One that passes the check makes addresses of 200 characters at most, as the adapter really sends them; one more is refused before
    anything begins, and the hint says how many there may be.
    """
    facts = {"creatify": provider_facts()["creatify"]}
    longest = "https://h.example/".ljust(92, "x")
    require_short(longest, facts)
    key = "k" * LONGEST_KEY
    address = sent_address({"product_url": "https://p.example/p.png"}, Callbacks(longest, "id").url("creatify", key), key)
    assert len(address) == 200
    with pytest.raises(UsageError, match="1 characters too long") as caught:
        require_short(longest + "x", facts)
    assert "at most 92 characters" in caught.value.hint
    others = {name: one for name, one in provider_facts().items() if name != "creatify"}
    require_short("https://h.example/" + "x" * 1000, others)


MANIFEST = """\
callsheet: 1
name: c
catalogue: { key: sku, products: [{ sku: P1 }] }
targets:
  still:
    uses: creatify/product-image
    with: { product_url: "https://shop.example/{{ product.key }}.jpg" }
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--callbacks", "hooks.example.com"],
        ["--callbacks", "https://u:p@hooks.example.com"],
        ["--callbacks", "https://h.example/" + "x" * 100],
        ["--listen", "127.0.0.1:8787"],
        ["--listen", "127.0.0.1:8787", "--callbacks", "off"],
        ["--listen", "nowhere", "--callbacks", "https://h.example"],
        ["--rehearse", "--listen", "127.0.0.1"],
        ["--rehearse", "--callbacks", "https://h.example/" + "x" * 100],
    ],
)
def test_a_run_checks_its_addresses_first(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a sentence, before there is a ledger."""
    (tmp_path / "campaign.yaml").write_text(MANIFEST, encoding="utf-8")
    assert invoke(["run", str(tmp_path), *words]) == EXIT_USAGE
    said = capsys.readouterr()
    assert "--callbacks" in said.err + said.out or "--listen" in said.err + said.out
    assert not list(tmp_path.glob("r*/*/ledger.jsonl"))


def test_waiting_is_bounded() -> None:
    """Three typical durations, at least two minutes."""
    assert [patience(seconds) for seconds in (0.0, 10.0, 40.0, 180.0)] == [120.0, 120.0, 120.0, 540.0]


def test_a_rehearsals_port_is_its_own() -> None:
    """The same for the same ledger, away from the ports that systems hand out."""
    ports = {own_port(f"{number:016x}") for number in range(200)}
    assert len(ports) > 190
    assert all(20_000 <= port < 30_000 for port in ports)
    assert own_port("a") == own_port("a")


def test_hearsay_forgets_what_is_settled() -> None:
    """A remote id counts until the job has one; a signed ending counts once, and less than an answer of the provider."""
    heard = Hearsay()
    heard.expect("k", "job")
    heard.remember("job", "first")
    heard.remember("job", "second")
    assert (heard.job("k"), heard.remote_id("job")) == ("job", "first")
    heard.settled("job", "other")
    assert heard.remote_id("job") is None
    assert heard.counts["contradicted"] == 1
    signed, asked = Observation("r", Phase.SUCCEEDED), Observation("r", Phase.RUNNING)
    heard.vouch("job", signed)
    assert heard.better("job", asked) is signed
    assert heard.better("job", asked) is asked
    heard.vouch("job", signed)
    failed = Observation("r", Phase.FAILED)
    assert heard.better("job", failed) is failed
    heard.forget("job", "k")
    assert heard.job("k") is None
