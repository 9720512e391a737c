"""Puts entries into a cache as fast as it can, in a process of its own that a test may kill."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.inference.array_cache import ArrayCache, array_key

N_KEYS = 40
LIMIT_BYTES = 200_000


def key(number: int) -> str:
    return array_key("test", {"number": number})


def values(number: int) -> NDArray[np.float32]:
    return np.full(4000, number, dtype=np.float32)


def write_and_read(folder: str, seed: int, rounds: int) -> int:
    """Put and get; return how many entries were found, or -1 if one held another's values."""
    cache = ArrayCache(Path(folder), LIMIT_BYTES)
    generator = np.random.default_rng(seed)
    found = 0
    for number in generator.integers(0, N_KEYS, rounds):
        entry = cache.get(key(int(number)))
        if entry is None:
            cache.put(key(int(number)), {"values": values(int(number))})
        elif np.array_equal(entry.arrays["values"], values(int(number))):
            found += 1
        else:
            return -1
    return found


if __name__ == "__main__":
    print("writing", flush=True)
    write_and_read(sys.argv[1], 1, 1_000_000)
