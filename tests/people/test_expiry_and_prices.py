"""What expires when, and what a budget is worth where the provider's price is not known."""

from __future__ import annotations

from pathlib import Path

from crash_rig import Pretend
from people_rig import GREETING, SLOW, STILL, callsheet, run, states, submitted, write_campaign

from runner.errors import EXIT_BUDGET, EXIT_OK, EXIT_USAGE, EXIT_WAITING
from runner.model import State
from runner.terminal.expiry import Expiry, as_lines

DAY = 86400.0


def test_lines_say_what_expires_when() -> None:
    """Known, unknown and past life times each read as they are."""
    now = 1_760_000_000.0
    first, unknown, past = as_lines(
        [Expiry("akool/a", 2, 0, now + 2 * DAY), Expiry("x/y", 1, 0, None), Expiry("kling/k", 3, 1, now + DAY)], now
    )
    assert first.startswith("akool/a: 2 not collected yet; the first expires 2025-10-11 08:53 UTC (in ")
    assert unknown == "x/y: 1 not collected yet; the provider does not say how long it keeps them"
    assert past.endswith("; 1 may have expired already")
    assert list(as_lines([Expiry("x/y", 1, 1, None)], now)) == ["x/y: 1 not collected yet; 1 may have expired already"]


def test_collect_says_what_is_left_and_when_it_expires(folder: Path, slow: Pretend) -> None:
    """A run that leaves paid work at the provider names its operation, count and the day its results go."""
    campaign = write_campaign(folder, "expiry", 2, GREETING + "    deadline: 1s\n")
    assert run(campaign, slow, speed=SLOW).code == EXIT_WAITING
    told = run(campaign, slow, "--collect", speed=SLOW)
    if told.code == EXIT_WAITING:
        assert "akool/talking-photo: " in told.out
        assert " not collected yet; the first expires " in told.out
    assert submitted(campaign, slow) == 2


def test_nothing_expires_once_all_is_collected(folder: Path, pretend: Pretend) -> None:
    """A finished run says nothing of expiry."""
    campaign = write_campaign(folder, "collected", 1, STILL)
    done = run(campaign, pretend)
    assert done.code == EXIT_OK
    assert "the first expires" not in done.out


def test_a_budget_needs_a_price(folder: Path) -> None:
    """A budget over jobs whose price nobody knows is a problem at the manifest's own line, saying what to write."""
    write_campaign(folder, "noprice", 2, GREETING, {"akool": {"budget": 25}})
    for command in ("validate", "plan"):
        done = callsheet(command, folder)
        assert done.code == EXIT_USAGE, done
        assert "campaign.yaml:5:" in done.err + done.out
        assert "price of akool/talking-photo is not known" in done.err + done.out
        assert "prices: { talking-photo: CREDITS }" in done.err + done.out
    done = callsheet("run", folder, "--rehearse", "--quiet")
    assert done.code == EXIT_USAGE
    assert not list((folder / "rehearsals").rglob("report"))


def test_a_budget_holds_under_concurrency(folder: Path, pretend: Pretend) -> None:
    """With a stated price, jobs submitted at the same time never go over the budget together, over all runs."""
    limits = {"akool": {"budget": 35, "concurrency": 8, "rate": "100/s", "prices": {"talking-photo": 10}}}
    campaign = write_campaign(folder, "budget", 8, GREETING, limits)
    done = run(campaign, pretend)
    assert done.code == EXIT_BUDGET, done
    assert "the budget of akool is 35 credits" in done.out
    assert submitted(campaign, pretend) == 3
    assert run(campaign, pretend).code == EXIT_BUDGET
    assert submitted(campaign, pretend) == 3
    text = (folder / "campaign.yaml").read_text().replace('"budget": 35', '"budget": 80')
    (folder / "campaign.yaml").write_text(text)
    assert run(campaign, pretend).code == EXIT_OK
    assert submitted(campaign, pretend) == 8
    assert states(campaign) == {State.SUCCEEDED}


def test_max_cost_holds_with_a_stated_price(folder: Path, pretend: Pretend) -> None:
    """--max-cost counts the stated price too, for each run anew."""
    limits = {"akool": {"concurrency": 8, "rate": "100/s", "prices": {"talking-photo": 10}}}
    campaign = write_campaign(folder, "maxcost", 4, GREETING, limits)
    assert run(campaign, pretend, "--max-cost", 20).code == EXIT_BUDGET
    assert submitted(campaign, pretend) == 2
    assert run(campaign, pretend, "--max-cost", 20).code == EXIT_OK
    assert submitted(campaign, pretend) == 4


def test_wrong_prices_are_problems(folder: Path) -> None:
    """Prices that are no numbers, or below zero, are named."""
    for prices, word in (
        ({"talking-photo": -1}, "talking-photo"),
        ({"talking-photo": "x"}, "no price"),
    ):
        write_campaign(folder, "odd", 1, GREETING, {"akool": {"prices": prices}})
        done = callsheet("validate", folder)
        assert done.code == EXIT_USAGE, (prices, done)
        assert word in done.err + done.out
