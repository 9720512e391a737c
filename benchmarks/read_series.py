"""Scan and read against SimpleITK's ImageSeriesReader: the real 28-slice series and a 300-slice 512² series.

    python -m benchmarks.read_series [FOLDER_OF_THE_REAL_SERIES]

Both sides start from a folder's path and end with all voxels in memory; files are in the system's cache. Every voxel
is compared with pydicom's own reading. Exits 1 if a ratio of medians is above the target or a voxel differs.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK

from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.dicom.writer import CtHeader, write_ct_series
from engine.geometry import Volume, VolumeGeometry

TARGET = 0.7
N_SLICES = 300
MATRIX = 512
REPEATS = 9
HEADER = CtHeader(
    study_instance_uid="2.25.1001",
    series_instance_uid="2.25.1002",
    frame_of_reference_uid="2.25.1003",
    patient_name="Benchmark",
    patient_id="benchmark",
    study_description="",
    series_description="Benchmark",
    manufacturer="",
    model_name="",
    convolution_kernel="",
)
REAL = Path(__file__).resolve().parents[1] / "resources" / "demo" / "head_ct_ge_tilt"


def main() -> int:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    real = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL
    print(f"{platform.platform()}, {os.cpu_count()} cores, cpu, Python {platform.python_version()}")
    ok = compare("28-slice real series", real)
    with tempfile.TemporaryDirectory() as folder:
        write_ct_series(Path(folder), synthetic_volume(), HEADER)
        ok &= compare(f"{N_SLICES}-slice {MATRIX}² series", Path(folder))
    return 0 if ok else 1


def compare(name: str, folder: Path) -> bool:
    correct = every_voxel_equal(folder)
    ours, theirs = [], []
    for _ in range(REPEATS):
        ours.append(timed(lambda: read_ours(folder)))
        theirs.append(timed(lambda: read_simpleitk(folder)))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        f"{name}: ours {1e3 * statistics.median(ours):.1f} ms, SimpleITK {1e3 * statistics.median(theirs):.1f} ms, "
        f"ratio {ratio:.2f}, target {TARGET}, every voxel equal: {correct}"
    )
    return correct and ratio <= TARGET


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    del result
    return seconds


def read_ours(folder: Path) -> Volume:
    report = scan([folder])
    (series,) = (one for one in report.series if one.kind == "volume")
    return read_series(series)


def read_simpleitk(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def every_voxel_equal(folder: Path) -> bool:
    volume = read_ours(folder)
    by_uid = dict(zip(volume.sop_instance_uids, volume.voxels, strict=True))
    for path in sorted(folder.glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        expected = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        if not np.array_equal(by_uid.pop(dataset.SOPInstanceUID), expected):
            return False
    return not by_uid


def synthetic_volume() -> Volume:
    """Noise over a ramp: no slice like another, every value within the range of CT."""
    rng = np.random.default_rng(1)
    noise = rng.integers(-1024, 2000, size=(MATRIX, MATRIX), dtype=np.int16)
    voxels = np.stack([np.roll(noise, 7 * k) for k in range(N_SLICES)])
    origins = np.stack([np.array([-120.0, -120.0, 0.5 * k]) for k in range(N_SLICES)])
    geometry = VolumeGeometry(
        np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (0.47, 0.47), origins, rows=MATRIX, columns=MATRIX
    )
    return Volume(voxels, geometry, "HU", None, tuple(f"2.25.{k + 1}" for k in range(N_SLICES)))


if __name__ == "__main__":
    sys.exit(main())
