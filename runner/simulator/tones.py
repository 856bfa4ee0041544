"""Makes the sound of somebody speaking, without words: soft vowels in syllables, phrases and pauses.

Owns the synthesis and the speech plan that mouths move by. Pure; mono, 16 bits, ``RATE`` samples a second. Needs no
library: a voice is a small store of syllables, and a track is those laid end to end.
"""

from __future__ import annotations

import math
import wave
from array import array
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

from runner.simulator.palette import dice

RATE = 24_000

_TABLE = 512
_VOICES = (104.0, 122.0, 168.0, 196.0)
"""Base pitches in Hz."""
_VOWELS = ((730, 1090), (530, 1840), (270, 2290), (570, 840), (300, 870), (640, 1190))
"""First two formants in Hz: a, e, i, o, u and an open a."""
_OPENNESS = (3, 2, 1, 2, 1, 3)
_LENGTHS = (0.11, 0.14, 0.18, 0.23)
_GLIDES = ((1.0, 1.07), (1.05, 0.97), (1.1, 0.9))


@dataclass(frozen=True, slots=True)
class Syllable:
    """One piece of speech: samples ``start`` to ``start + length``; ``openness`` of the mouth is 1 to 3."""

    start: int
    length: int
    openness: int
    kind: tuple[int, int, int]
    """Vowel, length and glide, as indices."""


@dataclass(frozen=True, slots=True)
class Speech:
    """What is said: the voice, the syllables in order, and how many samples all of it takes."""

    voice: int
    syllables: tuple[Syllable, ...]
    samples: int

    def mouth(self, second: float) -> int:
        """How far the mouth is open at a moment: 0 closed to 3."""
        spot = second * RATE
        for syllable in self.syllables:
            if syllable.start <= spot < syllable.start + syllable.length:
                inner = (spot - syllable.start) / syllable.length
                return syllable.openness if 0.15 < inner < 0.75 else 1
        return 0


def plan(text: str, seconds: float, seed: int) -> Speech:
    """What a voice would say in ``seconds``: the same text and seed always sound the same."""
    throw = dice("speech", text, seed)
    total = round(seconds * RATE)
    spot = round(0.15 * RATE)
    syllables: list[Syllable] = []
    while True:
        for _ in range(throw.randint(4, 9)):
            kind = (throw.randrange(len(_VOWELS)), throw.randrange(len(_LENGTHS)), throw.randrange(len(_GLIDES)))
            length = round(_LENGTHS[kind[1]] * RATE)
            if spot + length + RATE // 12 > total:
                return Speech(dice("voice", seed, text[:40]).randrange(len(_VOICES)), tuple(syllables), total)
            syllables.append(Syllable(spot, length, _OPENNESS[kind[0]], kind))
            spot += length + round(throw.choice((0.0, 0.01, 0.02, 0.05)) * RATE)
        spot += round(throw.uniform(0.22, 0.45) * RATE)


def samples(speech: Speech) -> array[int]:
    """The sound of a plan."""
    track = array("h", bytes(2 * speech.samples))
    for syllable in speech.syllables:
        track[syllable.start : syllable.start + syllable.length] = _sound(speech.voice, *syllable.kind)
    return track


@lru_cache(maxsize=512)
def _sound(voice: int, vowel: int, length: int, glide: int) -> array[int]:
    """One syllable: a vowel's wave, its pitch gliding, faded in and out."""
    table = _wave_of(voice, vowel)
    count = round(_LENGTHS[length] * RATE)
    first, last = (_VOICES[voice] * factor * _TABLE / RATE for factor in _GLIDES[glide])
    rise, fall = round(0.025 * RATE), round(0.06 * RATE)
    sound, phase = array("h", bytes(2 * count)), 0.0
    for index in range(count):
        phase += first + (last - first) * index / count
        level = min(1.0, index / rise, (count - index) / fall)
        sound[index] = int(table[int(phase) % _TABLE] * level * level * (3 - 2 * level))
    return sound


@lru_cache(maxsize=64)
def _wave_of(voice: int, vowel: int) -> tuple[float, ...]:
    """One period: harmonics of the pitch, strong near the vowel's formants, at a comfortable loudness."""
    pitch = _VOICES[voice]
    parts = [(number, _strength(number * pitch, vowel)) for number in range(1, int(3400 / pitch))]
    period = [
        sum(strength * math.sin(math.tau * number * step / _TABLE + number * 0.7) for number, strength in parts)
        for step in range(_TABLE)
    ]
    peak = max(abs(value) for value in period)
    return tuple(value * 9000 / peak for value in period)


def _strength(frequency: float, vowel: int) -> float:
    low, high = _VOWELS[vowel]
    near = 1 / (1 + ((frequency - low) / 130) ** 2) + 0.45 / (1 + ((frequency - high) / 190) ** 2)
    return (near + 0.08) / (1 + frequency / 900)


def wav(track: array[int]) -> bytes:
    """The samples as a WAV file."""
    out = BytesIO()
    with wave.open(out, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(pcm(track))
    return out.getvalue()


def pcm(track: array[int]) -> bytes:
    """Little-endian bytes, whatever this machine's order."""
    probe = array("h", [1]).tobytes()
    if probe[0] == 1:
        return track.tobytes()
    swapped = array("h", track)
    swapped.byteswap()
    return swapped.tobytes()
