"""The cache of arrays: whole or not there, bounded, and safe where several processes use it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.inference.array_cache import ArrayCache, CacheError, array_digest, array_key, code_digest
from tests.support.cache_writer import LIMIT_BYTES, N_KEYS, key, values, write_and_read

ROOT = Path(__file__).resolve().parents[2]
ARRAYS: dict[str, NDArray[Any]] = {
    "features": np.arange(12, dtype=np.float16).reshape(3, 4),
    "labels": np.array([1, 0, -1], dtype=np.int8),
    "matrix": np.linalg.qr(np.arange(16, dtype=np.float64).reshape(4, 4))[0],
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    assert cache.get(key(1)) is None
    cache.put(key(1), ARRAYS, {"who": "Ünal"})
    found = cache.get(key(1))
    assert found is not None
    assert found.text == {"who": "Ünal"}
    assert set(found.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].flags.writeable, "torch wants it so"


@pytest.mark.parametrize("kept", [0, 5, 8, 39, 40, 48, 60, 200, -1])
def test_half_a_file_counts_as_none_and_is_removed(tmp_path: Path, kept: int) -> None:
    cache = ArrayCache(tmp_path)
    cache.put(key(1), ARRAYS)
    path = cache.path(key(1))
    path.write_bytes(path.read_bytes()[:kept])
    assert cache.get(key(1)) is None
    assert not path.exists()
    cache.put(key(1), ARRAYS)
    assert cache.get(key(1)) is not None


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    cache.put(key(1), {"values": np.arange(3, dtype=np.float32)})
    path = cache.path(key(1))
    content = path.read_bytes()
    for index in range(len(content)):
        damaged = bytearray(content)
        damaged[index] ^= 1
        path.write_bytes(damaged)
        assert cache.get(key(1)) is None, f"byte {index}"


def test_the_limit_holds_after_every_entry_and_what_was_used_last_stays(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, LIMIT_BYTES)
    for number in range(N_KEYS):
        cache.put(key(number), {"values": values(number)})
        assert cache.get(key(0)) is not None, "it is used all the time"
        assert cache.use().n_bytes <= LIMIT_BYTES
        time.sleep(0.002)
    assert cache.get(key(N_KEYS - 1)) is not None
    assert cache.get(key(1)) is None, "the oldest has left"
    assert cache.use().n_entries > 8, "the limit is made use of"


def test_small_entries_keep_to_the_limit_as_well(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, 40_000)
    for number in range(200):
        cache.put(key(number), {"values": np.full(100 if number % 7 else 3000, number, dtype=np.float32)})
        assert cache.use().n_bytes <= 40_000


def test_an_entry_beyond_the_limit_is_not_kept_and_drives_nothing_out(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, 50_000)
    cache.put(key(1), {"values": values(1)})
    cache.put(key(2), {"values": np.zeros(50_000, dtype=np.float32)})
    assert cache.get(key(2)) is None
    assert cache.get(key(1)) is not None


def test_what_a_dead_process_left_half_written_is_cleared_away_in_time(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, LIMIT_BYTES)
    cache.put(key(1), {"values": values(1)})
    fresh, old = (cache.path(key(1)).with_name(f".{name}.part") for name in ("fresh", "old"))
    for path in (fresh, old):
        path.write_bytes(b"x" * 1000)
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    ArrayCache(tmp_path, LIMIT_BYTES).put(key(2), {"values": values(2)})
    assert not old.exists()
    assert fresh.exists(), "another process may be writing it"


def test_clearing_removes_everything_of_ours_only(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, LIMIT_BYTES)
    for number in range(3):
        cache.put(key(number), {"values": values(number)})
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert cache.clear().n_entries == 3
    assert cache.use().n_entries == 0
    assert (tmp_path / "notes.txt").exists()
    cache.put(key(1), {"values": values(1)})
    assert cache.get(key(1)) is not None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CacheError) as caught:
        ArrayCache(tmp_path / "file" / "cache", LIMIT_BYTES).put(key(1), {"values": values(1)})
    assert caught.value.kind == "environment"
    assert str(tmp_path / "file" / "cache") in caught.value.message


def test_processes_share_a_full_cache(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.starmap(write_and_read, [(str(tmp_path), seed, 400) for seed in range(3)])
    assert min(found) > 0, "each found what others had put, and nobody another entry's values"
    use = ArrayCache(tmp_path, LIMIT_BYTES).use()
    assert 0 < use.n_bytes <= LIMIT_BYTES * (1 + 2 / 16)


def test_a_killed_writer_leaves_nothing_that_is_wrong(tmp_path: Path) -> None:
    for _ in range(3):
        command = [sys.executable, "-m", "tests.support.cache_writer", str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while not ArrayCache(tmp_path, LIMIT_BYTES).use().n_entries:
                time.sleep(0.01)
            time.sleep(0.1)
            writer.send_signal(signal.SIGKILL)
        cache = ArrayCache(tmp_path, LIMIT_BYTES)
        entries = {number: cache.get(key(number)) for number in range(N_KEYS)}
        assert any(entry is not None for entry in entries.values())
        for number, entry in entries.items():
            assert entry is None or np.array_equal(entry.arrays["values"], values(number))


def test_a_key_depends_on_every_fact_and_not_on_their_order() -> None:
    facts = {"a": 1, "b": [1.5, "x"], "c": None}
    assert array_key("kind", facts) == array_key("kind", dict(reversed(facts.items())))
    others = [array_key("other", facts), *(array_key("kind", {**facts, name: "?"}) for name in facts)]
    assert len({array_key("kind", facts), *others}) == 5
    with pytest.raises(ValueError):
        array_key("kind", {"a": float("nan")})


def test_a_digest_of_arrays_tells_type_and_shape() -> None:
    zeros = np.zeros((2, 3), dtype=np.int16)
    same_bytes = [zeros, zeros.reshape(3, 2), zeros.view(np.uint16), np.zeros(12, dtype=np.int8)]
    assert len({array_digest(array) for array in same_bytes}) == 4
    assert array_digest(zeros[:, ::2]) == array_digest(np.zeros((2, 2), dtype=np.int16))


def test_the_code_is_named_without_being_imported() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from engine.inference.array_cache import code_digest\n"
            "print(code_digest(['engine.models.backbones', 'engine.models.lora']), 'torch' in sys.modules)",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    digest, torch_loaded = done.stdout.split()
    assert digest == code_digest(["engine.models.backbones", "engine.models.lora"])
    assert torch_loaded == "False"
    with pytest.raises(ModuleNotFoundError):
        code_digest(["engine.models.nothing"])
