"""NIfTI-1 files (.nii, .nii.gz) as volumes, with the place in space of their affine, in LPS.

Axes are permuted and flipped, without any resampling, to the order of an axial CT: slices grow cranially, rows
posteriorly, columns to the patient's left.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.dicom.archive import Opener
from engine.dicom.header import HeaderError
from engine.dicom.hounsfield import has_air, not_hu
from engine.dicom.rescale import fits_int16
from engine.dicom.scope import geometry_scope
from engine.dicom.series import FileSource, Instance, Patient, Reason, Series, Study
from engine.dicom.series_sort import orthonormal
from engine.dicom.source import ByteReader
from engine.errors import DicomError
from engine.geometry import FloatArray, VolumeGeometry

HEADER_BYTES = 348
MOST_BYTES = 4 << 30
DEFLATE_GREATEST_EXPANSION = 1100
N_CHECKED_SLICES = 8
SUFFIXES = (".nii", ".nii.gz")

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}

VoxelArray = NDArray[np.int16] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the header says.

    Attributes
    ----------
    shape_ijk
        Voxels along the file's own axes; i runs fastest.
    affine_lps
        From (i, j, k, 1) to LPS mm, shape (4, 4); None if the file has neither qform nor sform.
    """

    shape_ijk: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float
    affine_lps: FloatArray | None

    @property
    def n_bytes(self) -> int:
        """Bytes of all voxels."""
        return int(np.prod(self.shape_ijk, dtype=np.int64)) * self.dtype.itemsize


def is_nifti(name: str) -> bool:
    """Whether a file's name is one of NIfTI."""
    return name.lower().endswith(SUFFIXES)


def scan_nifti(source: FileSource, opener: Opener) -> Series:
    """Judge a NIfTI file as a series of its own.

    Raises
    ------
    HeaderError
        If it is no NIfTI-1 volume of plain numbers.
    DicomError
        If it cannot be read.
    """
    header, voxels, digest = _load(source, opener)
    voxels, geometry = _oriented(header, voxels)
    hu, scope = _judge_values(voxels)
    reasons: list[Reason] = []
    warnings = [
        Reason(
            "nifti.no_context",
            "A NIfTI file does not tell modality, age, body part or contrast; make sure that this is a non-contrast "
            "head CT of an adult.",
        )
    ]
    if geometry is None:
        reasons.append(
            Reason("nifti.no_place", "The file has no usable qform or sform: nothing can be measured in mm.")
        )
    else:
        found, doubts = geometry_scope(geometry)
        scope += found
        warnings += doubts
    return Series(
        patient=Patient(),
        study=Study(instance_uid=uid_from(digest, b"study")),
        instance_uid=uid_from(digest, b"series"),
        number=None,
        description=source.label.replace("\\", "/").rpartition("/")[2],
        modality="CT" if hu else "",
        manufacturer="",
        convolution_kernel="",
        instances=tuple(_instance(source, digest, k) for k in range(len(voxels))),
        kind="stack" if geometry is None else "volume",
        reasons=tuple(reasons),
        scope_reasons=tuple(scope),
        warnings=tuple(warnings),
        source=source.path,
        geometry=geometry,
        hu=hu,
    )


def read_voxels(source: FileSource) -> VoxelArray:
    """Read the voxels in slice order, rescaled, shape (S, R, C).

    Raises
    ------
    DicomError
        If the file cannot be read any more.
    """
    with Opener() as opener:
        try:
            header, voxels, _ = _load(source, opener)
        except HeaderError as error:
            raise DicomError(
                f"{source.label} changed since it was scanned. {error.reason.message}",
                hint="Open the file again.",
                code=error.reason.code,
            ) from error
    return _oriented(header, voxels)[0]


def uid_from(digest: bytes, role: bytes) -> str:
    """Derive a UID of the form 2.25.<128-bit number> from content, the same for the same content."""
    return f"2.25.{int.from_bytes(hashlib.sha256(digest + role).digest()[:16], 'big')}"


def _instance(source: FileSource, digest: bytes, index: int) -> Instance:
    return Instance(
        source=source,
        sop_instance_uid=uid_from(digest, b"slice %d" % index),
        frame=index,
        instance_number=index + 1,
        position_lps_mm=None,
        slope=1.0,
        intercept=0.0,
        has_rescale=True,
        padding_value=None,
        layout=None,
    )


def _judge_values(voxels: VoxelArray) -> tuple[bool, list[Reason]]:
    sample = voxels[:: max(1, len(voxels) // N_CHECKED_SLICES)].astype(np.float32)
    if has_air(sample.ravel()):
        return True, []
    return False, [not_hu(float(voxels.min()), float(voxels.max()), "after the file's own scaling")]


def _load(source: FileSource, opener: Opener) -> tuple[NiftiHeader, VoxelArray, bytes]:
    """Return the header, the voxels as (k, j, i) after scaling, and a digest of the content."""
    reader = opener.open(source)
    try:
        data = _content(reader, source)
    finally:
        reader.close()
    header = parse_header(data[:HEADER_BYTES])
    if len(data) < header.offset + header.n_bytes:
        raise HeaderError(
            "nifti.truncated",
            f"The file is cut short: {header.n_bytes} bytes of voxels are announced, "
            f"{max(0, len(data) - header.offset)} are there.",
        )
    count = header.n_bytes // header.dtype.itemsize
    stored = np.frombuffer(data, dtype=header.dtype, count=count, offset=header.offset)
    return header, _scaled(stored.reshape(header.shape_ijk[::-1]), header), hashlib.sha256(data).digest()


def _content(reader: ByteReader, source: FileSource) -> bytes:
    """Return the uncompressed content, no longer than the header announces."""
    if reader.read_at(0, 2) != b"\x1f\x8b":
        return reader.read_at(0, reader.size)
    packed = reader.read_at(0, reader.size)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            head = stream.read(HEADER_BYTES)
            header = parse_header(head)
            wanted = header.offset + header.n_bytes - len(head)
            if wanted > DEFLATE_GREATEST_EXPANSION * len(packed):
                raise HeaderError("nifti.truncated", "The header announces more voxels than the file can hold.")
            return head + stream.read(wanted)
    except (OSError, EOFError, zlib.error) as error:
        raise HeaderError("nifti.damaged", f"{source.path.name} is damaged and cannot be unpacked.") from error


def parse_header(data: bytes) -> NiftiHeader:
    """Parse and check the 348 bytes of a NIfTI-1 header.

    Raises
    ------
    HeaderError
        If it is none, or describes no single volume of plain numbers, or one above 4 GiB.
    """
    order = next((o for o in "<>" if len(data) >= HEADER_BYTES and struct.unpack_from(o + "i", data)[0] == 348), None)
    if order is None or data[344:347] != b"n+1":
        raise HeaderError("nifti.not_nifti", "It is no NIfTI-1 file in one piece.")
    dims = struct.unpack_from(order + "8h", data, 40)
    if dims[0] < 3 or min(dims[1:4]) < 1 or any(size > 1 for size in dims[4 : dims[0] + 1]):
        raise HeaderError("nifti.dimensions", f"Its dimensions {list(dims[1 : max(2, dims[0] + 1)])} are no 3D volume.")
    (kind,) = struct.unpack_from(order + "h", data, 70)
    if kind not in _TYPES:
        raise HeaderError("nifti.datatype", f"Its data type {kind} is none of plain numbers.")
    offset, slope, intercept = struct.unpack_from(order + "3f", data, 108)
    header = NiftiHeader(
        shape_ijk=(dims[1], dims[2], dims[3]),
        dtype=np.dtype(order + _TYPES[kind]),
        offset=int(offset) if HEADER_BYTES <= offset < 1 << 24 else 352,
        slope=slope if np.isfinite(slope) and slope != 0 else 1.0,
        intercept=intercept if np.isfinite(intercept) and np.isfinite(slope) and slope != 0 else 0.0,
        affine_lps=_affine(data, order),
    )
    if header.n_bytes > MOST_BYTES:
        raise HeaderError(
            "nifti.too_large", f"Its voxels would fill {header.n_bytes} bytes, beyond the limit of 4 GiB."
        )
    return header


def _affine(data: bytes, order: str) -> FloatArray | None:
    qform, sform = struct.unpack_from(order + "2h", data, 252)
    if sform > 0:
        ras = np.eye(4)
        ras[:3] = np.array(struct.unpack_from(order + "12f", data, 280)).reshape(3, 4)
    elif qform > 0:
        ras = _affine_from_quaternion(data, order)
    else:
        return None
    if not np.isfinite(ras).all() or abs(np.linalg.det(ras[:3, :3])) < 1e-9:
        return None
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras, dtype=np.float64)


def _affine_from_quaternion(data: bytes, order: str) -> FloatArray:
    """Method 2 of the NIfTI-1 standard: quaternion, offset, voxel sizes, and the sign of the third axis."""
    b, c, d, x, y, z = struct.unpack_from(order + "6f", data, 256)
    sizes = struct.unpack_from(order + "4f", data, 76)
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    ras = np.eye(4)
    ras[:3, :3] = rotation * np.array([sizes[1], sizes[2], sizes[3] * (-1 if sizes[0] < 0 else 1)])
    ras[:3, 3] = x, y, z
    return ras


def _scaled(stored: NDArray[Any], header: NiftiHeader) -> VoxelArray:
    """Apply the scaling; int16 where every value is whole and fits, else float32."""
    unscaled = header.slope == 1.0 and header.intercept == 0.0 and stored.dtype.kind in "iu"
    if unscaled and fits_int16(int(stored.min()), int(stored.max())):
        return stored.astype(np.int16)
    values = stored.astype(np.float64) * header.slope + header.intercept
    if not np.isfinite(values).all():
        raise HeaderError("nifti.not_finite", "Some voxels are no finite numbers.")
    if fits_int16(values.min(), values.max()) and bool(np.all(values == np.rint(values))):
        return values.astype(np.int16)
    return values.astype(np.float32)


def _oriented(header: NiftiHeader, voxels: VoxelArray) -> tuple[VoxelArray, VolumeGeometry | None]:
    """Bring (k, j, i) into axial order and place it; without a usable affine it stays as it is."""
    if header.affine_lps is None:
        return voxels, None
    affine = header.affine_lps
    axes = _axial_axes(affine[:3, :3])
    directions = affine[:3, list(axes)]
    origin = affine[:3, 3].copy()
    turned: Any = voxels.transpose([2 - axis for axis in axes])
    for axis, along in enumerate((2, 1, 0)):
        if directions[along, axis] < 0:
            origin += directions[:, axis] * (turned.shape[axis] - 1)
            directions[:, axis] *= -1
            turned = np.flip(turned, axis)
    step, column, row = directions.T
    row_mm, column_mm = float(np.linalg.norm(column)), float(np.linalg.norm(row))
    cosines = orthonormal(tuple(np.concatenate([row / column_mm, column / row_mm])))
    voxels = np.ascontiguousarray(turned)
    if cosines is None:
        return voxels, None
    geometry = VolumeGeometry(
        row_cosine_lps=cosines[0],
        column_cosine_lps=cosines[1],
        pixel_spacing_mm=(row_mm, column_mm),
        origins_lps_mm=origin + np.arange(len(voxels))[:, None] * step,
        rows=voxels.shape[1],
        columns=voxels.shape[2],
    )
    return voxels, geometry


def _axial_axes(directions: FloatArray) -> tuple[int, int, int]:
    """Return which file axis is nearest to z, y and x, each used once."""
    cosines = np.abs(directions) / np.linalg.norm(directions, axis=0)
    z = int(np.argmax(cosines[2]))
    rest = [axis for axis in range(3) if axis != z]
    x = max(rest, key=lambda axis: float(cosines[0, axis]))
    y = next(axis for axis in rest if axis != x)
    return z, y, x
