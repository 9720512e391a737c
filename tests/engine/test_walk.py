"""The walk through a tree: in portions, lazily, and studies put together from folders that follow each other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.dicom.scan import scan
from engine.dicom.walk import FoundStudy, Portion, StudyGatherer, count_files, walk
from engine.progress import Cancelled, CancelOnly, CancelToken
from tests.support.dicom import SERIES_UID, head_pixels, write_series

STUDY_UID = "1.2.826.0.1.3680043.10.1.1"


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_portions_are_folders_archives_and_nifti_files(tmp_path: Path) -> None:
    make(tmp_path, "b/2.dcm", "b/1.dcm", "b/deep/3.dcm", "a.zip", "c.nii.gz", "notes.txt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b", target_is_directory=True)
    found = [(portion.place, portion.files) for portion in walk(tmp_path)]
    b = tmp_path / "b"
    assert found == [
        (tmp_path, (tmp_path / "notes.txt",)),
        (tmp_path / "a.zip", (tmp_path / "a.zip",)),
        (tmp_path / "c.nii.gz", (tmp_path / "c.nii.gz",)),
        (b, (b / "1.dcm", b / "2.dcm")),
        (b / "deep", (b / "deep" / "3.dcm",)),
    ]
    assert count_files(tmp_path) == 6
    assert [portion.files for portion in walk(tmp_path / "a.zip")] == [(tmp_path / "a.zip",)]


def test_the_first_portion_comes_before_the_rest_of_the_tree_is_looked_at(tmp_path: Path) -> None:
    make(tmp_path, "a/1.dcm", "b/1.dcm")
    portions = walk(tmp_path)
    assert next(portions).place == tmp_path / "a"
    make(tmp_path, "b/2.dcm")
    assert len(next(portions).files) == 2


def test_a_walk_can_be_stopped(tmp_path: Path) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        next(walk(tmp_path, CancelOnly(token)))


def test_a_signature_changes_with_the_files(tmp_path: Path) -> None:
    make(tmp_path, "1.dcm")
    (before,) = walk(tmp_path)
    (same,) = walk(tmp_path)
    assert same.signature == before.signature
    (tmp_path / "1.dcm").write_bytes(b"xy")
    (longer,) = walk(tmp_path)
    make(tmp_path, "2.dcm")
    (more,) = walk(tmp_path)
    assert len({before.signature, longer.signature, more.signature}) == 3


def gather(root: Path) -> list[tuple[str, list[FoundStudy]]]:
    """Return which studies were whole after which portion."""
    gatherer = StudyGatherer()
    whole = [(portion.place.name, gatherer.add(portion, scan(portion.files).series)) for portion in walk(root)]
    return [*whole, ("", gatherer.rest())]


def test_a_study_is_whole_when_a_portion_has_nothing_of_it(tmp_path: Path) -> None:
    for name, series in (("a", "1"), ("b", "2")):
        write_series(tmp_path / name, 3, SeriesInstanceUID=f"{SERIES_UID}.{series}")
    write_series(tmp_path / "c", 3, StudyInstanceUID=f"{STUDY_UID}.9", SeriesInstanceUID=f"{SERIES_UID}.9")
    (_, none), (_, still_none), (_, first), (_, last) = gather(tmp_path)
    assert (none, still_none) == ([], [])
    (study,) = first
    assert study.instance_uid == STUDY_UID
    assert [series.instance_uid for series in study.series] == [f"{SERIES_UID}.1", f"{SERIES_UID}.2"]
    assert [portion.place.name for portion in study.portions] == ["a", "b"]
    assert not study.torn
    assert [study.instance_uid for study in last] == [f"{STUDY_UID}.9"]


def test_a_series_in_two_folders_is_noticed(tmp_path: Path) -> None:
    write_series(tmp_path / "a", 6)
    (tmp_path / "b").mkdir()
    for name in ("004.dcm", "005.dcm", "006.dcm"):
        shutil.move(tmp_path / "a" / name, tmp_path / "b" / name)
    *_, (_, (study,)) = gather(tmp_path)
    assert study.torn
    (whole,) = scan([path for portion in study.portions for path in portion.files]).series
    assert whole.n_slices == 6


def test_a_series_split_within_one_folder_is_not_torn(tmp_path: Path) -> None:
    write_series(tmp_path / "a", 4)
    write_series(tmp_path / "x", 3, pixels=head_pixels(0, 20, 24))
    for index, path in enumerate(sorted((tmp_path / "x").iterdir())):
        shutil.move(path, tmp_path / "a" / f"other_{index}.dcm")
    *_, (_, (study,)) = gather(tmp_path)
    assert len(study.series) == 2
    assert not study.torn


def test_a_portion_can_be_named_in_a_set() -> None:
    assert len({Portion(Path("a"), (Path("a/1"),)), Portion(Path("a"), (Path("a/1"),))}) == 1
