"""Makes the media that a rehearsal hands out: stills, clips and speech, drawn from what was ordered.

Owns ``MediaOrder``, ``MediaMaker`` and the cache. The same order and seed give the same bytes. Never fails for its input:
sizes and lengths are brought into bounds, text may be anything, and picture bytes that do not open are drawn instead.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.simulator.motion import Script
    from runner.simulator.tones import Speech

MIN_SIDE, MAX_SIDE = 64, 2048
"""Pixels."""
MIN_SECONDS, MAX_SECONDS = 0.5, 600.0

_MAX_CACHED_BYTES = 192 * 1024 * 1024
_PRESENTED = ("avatar", "talking", "presenter", "akool")
"""What in an order's words asks for a person."""
_OPERATION = re.compile(r"[a-z]+/[a-z0-9-]{1,40}")
_CLAUSE_END = re.compile(r"[.,;:!?\n–—]")


@dataclass(frozen=True, slots=True)
class MediaOrder:
    """What to make. ``width`` and ``height`` in pixels (odd ones become even), ``seconds`` of play time.

    ``title`` is the product's name. A title without a capital letter (``product_avatar``) is taken for the operation's word:
    then the prompt's first clause is shown as the name. ``label`` is the small line over it when it names an operation
    (``kling/avatar``), else the provider is. Words such as ``avatar`` in either ask for a person with the product, unless
    ``scene`` says ``presenter`` or ``product``. ``picture`` is the product's picture, or the still that a clip is made from.
    """

    kind: str
    """``image``, ``video`` or ``audio``; for the reader of an order, the maker is told by the method."""
    provider: str
    title: str
    prompt: str
    width: int
    height: int
    seconds: float
    seed: int
    picture: bytes | None = None
    label: str = ""
    scene: str = ""


class MediaMaker:
    """Makes what is ordered, each thing once. Safe to use from many threads; keeps the last ``cache_items`` results."""

    def __init__(self, seed: int, *, cache_items: int = 256) -> None:
        self._seed = seed
        self._items = max(0, cache_items)
        self._lock = Lock()
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._making: dict[bytes, Future[bytes]] = {}

    def still(self, order: MediaOrder) -> bytes:
        """A JPEG of the ordered size."""
        return self._once("still", order, self._still)

    def clip(self, order: MediaOrder) -> bytes:
        """An MP4 (H.264, AAC) of the ordered size and length, to 1/24 of a second."""
        return self._once("clip", order, self._clip)

    def speech(self, order: MediaOrder) -> bytes:
        """A WAV of the ordered length: a voice without words."""
        return self._once("speech", order, self._speech)

    def _once(self, what: str, order: MediaOrder, make: Callable[[MediaOrder], bytes]) -> bytes:
        """From the cache, or from the thread that is making the very same thing, or made here."""
        order = _bounded(order)
        key = _key(what, order, self._seed)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            waiting = self._making.get(key)
            if waiting is None:
                mine = self._making[key] = Future()
        if waiting is not None:
            return waiting.result()
        try:
            made = make(order)
        except BaseException as error:
            self._done(key)
            mine.set_exception(error)
            raise
        self._done(key, made)
        mine.set_result(made)
        return made

    def _done(self, key: bytes, made: bytes | None = None) -> None:
        with self._lock:
            del self._making[key]
            if made is None or not self._items:
                return
            self._kept[key] = made
            self._bytes += len(made)
            while len(self._kept) > self._items or self._bytes > _MAX_CACHED_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def _still(self, order: MediaOrder) -> bytes:
        from runner.simulator import encoding, motion, pictures, scenery

        script = self._script(order)
        if _presented(order):
            scene, mark = motion.presented_still(script)
            return encoding.jpeg(scene, comment=pictures.PRESENTED_COMMENT + b" " + mark)
        place = scenery.stage(order.width, order.height)
        item = scenery.goods(script.title, order.picture, script.palette, place.side, script.seed)
        image = scenery.still(script.title, script.kicker, item, script.palette, place)
        return encoding.jpeg(image, comment=pictures.STILL_COMMENT + b" " + item.mark)

    def _clip(self, order: MediaOrder) -> bytes:
        from runner.simulator import encoding, motion, tones

        script = self._script(order)
        frames, loop = motion.frames_of(order.seconds)
        speech = _speech_of(order, loop / motion.RATE, script.seed)
        reel = motion.present(script, speech) if _presented(order) else motion.drift(script)
        track = tones.samples(speech)
        times = -(-frames // loop)
        return encoding.mp4(reel, (track * times)[: frames * tones.RATE // motion.RATE])

    def _speech(self, order: MediaOrder) -> bytes:
        from runner.simulator import tones

        return tones.wav(tones.samples(_speech_of(order, order.seconds, self._seed)))

    def _script(self, order: MediaOrder) -> Script:
        """The order in the director's words. Colours and person follow the name alone, so that they stay with the product."""
        from runner.simulator.motion import Script
        from runner.simulator.palette import palette_for

        title = _name(order)
        palette = palette_for(title, self._seed)
        kicker = order.label if _OPERATION.fullmatch(order.label) else order.provider
        size = (order.width, order.height)
        return Script(title, order.prompt, kicker, *size, order.seconds, self._seed, order.picture, palette)


def _operation_word(title: str) -> bool:
    return title == title.lower() and title.isascii()


def _name(order: MediaOrder) -> str:
    """What to call the product: its title, else how the prompt begins."""
    if not _operation_word(order.title):
        return order.title
    clause = _CLAUSE_END.split(order.prompt[:400].strip(), maxsplit=1)[0].strip()
    return clause or order.title.replace("_", " ").capitalize()


def _speech_of(order: MediaOrder, seconds: float, seed: int) -> Speech:
    from runner.simulator import tones

    return tones.plan(order.prompt or order.title, seconds, seed + order.seed)


def _presented(order: MediaOrder) -> bool:
    if order.scene:
        return order.scene == "presenter"
    word_of = order.title if _operation_word(order.title) else ""
    words = f"{order.provider} {order.label} {word_of}".lower()
    return any(word in words for word in _PRESENTED)


def _bounded(order: MediaOrder) -> MediaOrder:
    """Sizes even and in bounds, keeping the aspect ratio where the bounds allow; a length that is a number."""
    width, height = max(1, order.width), max(1, order.height)
    factor = min(1.0, MAX_SIDE / max(width, height))
    seconds = order.seconds if math.isfinite(order.seconds) else 5.0
    return replace(
        order,
        width=max(MIN_SIDE, round(width * factor / 2) * 2),
        height=max(MIN_SIDE, round(height * factor / 2) * 2),
        seconds=min(MAX_SECONDS, max(MIN_SECONDS, seconds)),
    )


def _key(what: str, order: MediaOrder, seed: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    words = (what, order.provider, order.title, order.prompt, order.label, order.scene)
    numbers = (order.width, order.height, order.seconds, order.seed, seed)
    digest.update(repr((words, numbers)).encode("utf-8", "backslashreplace"))
    digest.update(order.picture if order.picture is not None else b"\0none")
    return digest.digest()
