"""ZIP archives: read in memory like a folder; what is hostile in them is refused by name."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.dicom import archive
from engine.dicom.read import read_series
from engine.dicom.scan import scan
from tests.support.dicom import N_SLICES, ct_slice, head_pixels, save, write_series


def pack(target: Path, folder: Path) -> zipfile.ZipFile:
    packed = zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED)
    for path in sorted(folder.rglob("*.dcm")):
        packed.write(path, f"study/Ä/{path.name}")
    return packed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_series(tmp_path / "series")
    return tmp_path / "series"


def test_archive_reads_like_the_folder_and_leaves_no_file(tmp_path: Path, folder: Path) -> None:
    pack(tmp_path / "study.zip", folder).close()
    before = sorted(tmp_path.rglob("*"))
    report = scan([tmp_path / "study.zip"])
    (series,) = report.series
    assert (report.n_files, series.analysable, series.source) == (N_SLICES, True, tmp_path / "study.zip")
    np.testing.assert_array_equal(read_series(series).voxels, read_series(scan([folder]).series[0]).voxels)
    assert sorted(tmp_path.rglob("*")) == before
    # A damaged second copy of the archive in the same folder changes nothing but the list of what was skipped.
    (tmp_path / "half.zip").write_bytes((tmp_path / "study.zip").read_bytes()[:4000])
    codes = [skipped.code for skipped in scan([tmp_path]).skipped]
    assert codes == ["dicom.zip.damaged"]


def test_hostile_members_are_refused_by_name_and_the_rest_is_read(tmp_path: Path, folder: Path) -> None:
    data = save(ct_slice(0, SOPInstanceUID="1.2.3.99"), tmp_path / "one.dcm").read_bytes()
    link = zipfile.ZipInfo("study/link.dcm")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    inner = tmp_path / "inner.zip"
    pack(inner, folder).close()
    with pack(tmp_path / "study.zip", folder) as packed:
        packed.writestr("../outside.dcm", data)
        packed.writestr("/etc/absolute.dcm", data)
        packed.writestr("C:/drive.dcm", data)
        packed.writestr(link, "/etc/passwd")
        packed.writestr("study/bomb.dcm", b"\0" * (16 << 20))
        packed.write(inner, "study/inner.zip")
    report = scan([tmp_path / "study.zip"])
    skipped = {one.path.partition("!")[2]: one.code for one in report.skipped}
    assert skipped == {
        "../outside.dcm": "dicom.zip.path",
        "/etc/absolute.dcm": "dicom.zip.path",
        "C:/drive.dcm": "dicom.zip.path",
        "study/link.dcm": "dicom.zip.link",
        "study/bomb.dcm": "dicom.zip.bomb",
        "study/inner.zip": "dicom.zip.nested",
    }
    assert [len(series.instances) for series in report.series] == [N_SLICES]
    assert not list(tmp_path.parent.glob("outside.dcm"))


def test_member_longer_than_announced_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.dcm", save(ct_slice(0), tmp_path / "a.dcm").read_bytes())
    data = bytearray(path.read_bytes())
    central = data.find(b"PK\x01\x02")
    struct.pack_into("<L", data, central + 24, 300)  # uncompressed size
    path.write_bytes(data)
    report = scan([path])
    assert not report.series
    assert [skipped.code for skipped in report.skipped] in (["dicom.zip.damaged"], ["dicom.truncated"])


def test_archive_beyond_the_limits_is_refused_whole(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "study.zip", folder).close()
    monkeypatch.setattr(archive, "MOST_MEMBERS", 5)
    report = scan([tmp_path / "study.zip"])
    assert not report.series
    assert [skipped.code for skipped in report.skipped] == ["dicom.zip.bomb"]
    assert "20 members" in report.skipped[0].reason


def test_encrypted_member_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "secret.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.dcm", b"x" * 500)
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + place] |= 1
    path.write_bytes(data)
    assert [skipped.code for skipped in scan([path]).skipped] == ["dicom.zip.encrypted"]


def test_archive_found_in_a_folder_is_read_too(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "mixed").mkdir()
    pack(tmp_path / "mixed" / "study.zip", folder).close()
    (series,) = scan([tmp_path / "mixed"]).series
    np.testing.assert_array_equal(read_series(series).voxels[7], head_pixels(7) - 1024)
