"""The watched folder: nothing half-copied, nothing twice, also after a restart, and a folder that goes and comes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from app.operations.watch_folder import FolderWatch, WatchMemory
from engine.errors import DicomError, StoreError


class Clock:
    """A clock that is set by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def memory(tmp_path: Path) -> WatchMemory:
    return WatchMemory(tmp_path / "watched.json")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(folder: Path, memory: WatchMemory, clock: Clock) -> FolderWatch:
    return FolderWatch(folder, memory, quiet_s=5.0, clock=clock)


def ready_names(watch: FolderWatch) -> list[list[str]]:
    return [[file.name for file in parcel.files] for parcel in watch.look().ready]


def test_a_folder_counts_as_complete_once_nothing_in_it_has_changed_for_a_while(
    watch: FolderWatch, folder: Path, clock: Clock
) -> None:
    series = folder / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"a" * 10)
    look = watch.look()
    assert (look.ready, look.n_arriving) == ((), 1)
    clock.now_s = 4.0
    (series / "1.dcm").write_bytes(b"a" * 20)
    assert ready_names(watch) == []
    clock.now_s = 8.0
    (series / "2.dcm").write_bytes(b"b")
    assert ready_names(watch) == [], "a file that joins makes the whole folder wait"
    clock.now_s = 12.9
    assert watch.look().n_arriving == 2
    clock.now_s = 13.0
    assert ready_names(watch) == [["1.dcm", "2.dcm"]]


def test_a_file_that_keeps_size_and_time_while_it_is_written_is_still_seen_to_change(
    watch: FolderWatch, folder: Path, clock: Clock
) -> None:
    path = folder / "preallocated.dcm"
    path.write_bytes(b"\0" * 100)
    stamp = path.stat()
    watch.look()
    clock.now_s = 5.0
    path.write_bytes(b"x" * 100)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert ready_names(watch) == []
    clock.now_s = 10.0
    assert ready_names(watch) == [["preallocated.dcm"]]


@pytest.mark.parametrize("name", ["scan.dcm.part", "scan.zip.crdownload"])
def test_a_download_that_is_not_finished_is_not_touched(
    watch: FolderWatch, folder: Path, clock: Clock, name: str
) -> None:
    (folder / name).write_bytes(b"half")
    for clock.now_s in (0.0, 100.0):
        look = watch.look()
        assert (look.ready, look.n_arriving) == ((), 1)
    (folder / name).rename(folder / "scan.zip")
    watch.look()
    clock.now_s = 200.0
    assert ready_names(watch) == [["scan.zip"]]


def test_an_archive_is_a_parcel_of_its_own_and_hidden_files_are_left_alone(
    watch: FolderWatch, folder: Path, clock: Clock
) -> None:
    for name in ("a.zip", "b.nii.gz", "c.dcm", ".hidden", "d"):
        (folder / name).write_bytes(b"x")
    watch.look()
    clock.now_s = 5.0
    assert sorted(ready_names(watch)) == [["a.zip"], ["b.nii.gz"], ["c.dcm", "d"]]


def test_what_was_taken_is_not_offered_again_not_even_after_a_restart(
    watch: FolderWatch, folder: Path, clock: Clock, tmp_path: Path
) -> None:
    (folder / "Müller^Anna.dcm").write_bytes(b"x")
    watch.look()
    clock.now_s = 5.0
    ready = watch.look().ready
    watch.taken(ready)
    assert ready_names(watch) == []
    again = WatchMemory(tmp_path / "watched.json")
    again.load()
    restarted = FolderWatch(folder, again, quiet_s=0.0, clock=clock)
    assert ready_names(restarted) == []
    assert restarted.look().n_arriving == 0
    assert "ller" not in (tmp_path / "watched.json").read_text(encoding="utf-8"), "no name of a file is written down"
    (folder / "Müller^Anna.dcm").write_bytes(b"more")
    assert ready_names(restarted) == [["Müller^Anna.dcm"]], "what has changed is news"


def test_what_was_refused_is_left_alone_until_it_changes(watch: FolderWatch, folder: Path, clock: Clock) -> None:
    (folder / "bad.dcm").write_bytes(b"x")
    watch.look()
    clock.now_s = 5.0
    watch.refuse(watch.look().ready)
    clock.now_s = 100.0
    assert ready_names(watch) == []
    (folder / "bad.dcm").write_bytes(b"better")
    watch.look()
    clock.now_s = 200.0
    assert ready_names(watch) == [["bad.dcm"]]


def test_a_folder_that_vanishes_is_told_of_and_found_again(watch: FolderWatch, folder: Path, clock: Clock) -> None:
    (folder / "1.dcm").write_bytes(b"x")
    watch.look()
    away = folder.with_name("away")
    shutil.move(folder, away)
    with pytest.raises(DicomError) as caught:
        watch.look()
    assert caught.value.code == "watch.missing"
    shutil.move(away, folder)
    clock.now_s = 5.0
    assert ready_names(watch) == [["1.dcm"]]


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": 1}'])
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, folder: Path, content: str) -> None:
    (tmp_path / "watched.json").write_text(content, encoding="utf-8")
    memory = WatchMemory(tmp_path / "watched.json")
    memory.load()
    (folder / "1.dcm").write_bytes(b"x")
    watch = FolderWatch(folder, memory, quiet_s=0.0)
    watch.look()
    ready = watch.look().ready
    assert len(ready) == 1
    watch.taken(ready)
    assert isinstance(json.loads((tmp_path / "watched.json").read_text(encoding="utf-8")), dict)


def test_a_memory_that_cannot_be_written_is_told_of(folder: Path, tmp_path: Path) -> None:
    (folder / "1.dcm").write_bytes(b"x")
    watch = FolderWatch(folder, WatchMemory(tmp_path / "no such folder" / "watched.json"), quiet_s=0.0)
    watch.look()
    with pytest.raises(StoreError) as caught:
        watch.taken(watch.look().ready)
    assert caught.value.code == "watch.memory"
