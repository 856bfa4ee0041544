"""Pretend Creatify, Kling, Topview and Akool on one ASGI app, written from the providers' API documents alone.

Nothing here may import the adapters, the wire, the model or the life cycle: a mistake shared by both sides would cancel out.
From the bottom up::

    options, clock        what a simulator is told; simulated time
    web                   requests, replies and refusals over bare ASGI
    faults, books         injected failures by rule; what was taken, charged, refused and injected
    tasks, accounts       a status walk as a pure function of time; slots, queues and credit
    statefile, blobs      what survives a kill; pictures kept for drawing
    links, studio         result links that expire; the media behind them
    world                 all of the above together: the one place where work is accepted
    callbacks             letters to webhooks, with faults and retries
    kling, creatify, topview, akool     the providers
    application, serve    dispatch, faults, admin pages; a real socket
"""

from __future__ import annotations

from runner.simulator.options import SIMULATED_CREDENTIALS, SimulatorOptions

__all__ = ["SIMULATED_CREDENTIALS", "SimulatorOptions"]
