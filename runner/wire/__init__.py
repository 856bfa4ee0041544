"""The wire: every byte that leaves for a provider or comes from a result link goes through here.

Owns HTTP (nothing else imports httpx or aiohttp) and one answer that money hangs on: *did bytes of the request leave?*
``NotSent`` is raised only when that is proven, by hooks at the moment the request's first bytes are handed to a
connection; everything later is ``MaybeSent``. The class of an exception never decides: one library reports a refused
connection and a server that hung up after the request with the same class. Nothing here repeats a request.

    options     what can be set, what is counted
    addresses   URLs: built, shown without their secrets, told apart into public and internal
    bodies      request bodies out, response bodies in, within a size limit
    verdict     how far a request got, and why it failed, in words
    transport   aiohttp under httpx's one-method seam (asyncio)
    proxies     which proxy the environment asks for
    download    result links into files
    client      ``HttpWire``, the whole of it
"""

from runner.wire.client import HttpWire
from runner.wire.options import WireOptions, WireStatistics

__all__ = ["HttpWire", "WireOptions", "WireStatistics"]
