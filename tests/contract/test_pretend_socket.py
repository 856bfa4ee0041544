"""What only a socket shows of the simulator: how long a kept connection takes for a reply."""

from __future__ import annotations

import http.client
import time
from urllib.parse import urlsplit

from contract_stage import Stage


def test_a_reply_on_a_kept_connection_is_not_held_back(plain: Stage) -> None:
    """Header and body leave at once. Held back by Nagle's algorithm every later reply would take 40 ms; the fastest one tells."""
    parts = urlsplit(plain.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    taken = []
    for _ in range(30):
        began = time.perf_counter()
        connection.request("GET", "/_simulator/health")
        connection.getresponse().read()
        taken.append(time.perf_counter() - began)
    connection.close()
    assert min(taken[20:]) < 0.03
