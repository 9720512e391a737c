"""NIfTI files (.nii, .nii.gz), read by nibabel, as volumes with the place in space of their affine, in LPS.

Axes are permuted and flipped, without any resampling, to the order of an axial CT: slices grow cranially, rows
posteriorly, columns to the patient's left. nibabel takes a quarter of a second to import, so that it is imported where
a NIfTI file is read, not with this module. Its own checks, which print and mend, are left off: a header is taken as it
stands, or refused.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

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
from engine.errors import DicomError, GeometryError
from engine.geometry import FloatArray, VolumeGeometry

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

LONGEST_HEADER_BYTES = 540
LATEST_VOXELS_START = 1 << 24
MOST_BYTES = 4 << 30
DEFLATE_GREATEST_EXPANSION = 1100
N_CHECKED_SLICES = 8
SUFFIXES = (".nii", ".nii.gz")
MEAN_SPACING = "nifti.mean_spacing"
MEAN_SPACING_MARK = "mean spacing, see json"
"""In the header's descrip field where our own writer could place the first and the last slice only."""

VoxelArray = NDArray[np.int16] | NDArray[np.float32]


def is_nifti(name: str) -> bool:
    """Whether a file's name is one of NIfTI."""
    return name.lower().endswith(SUFFIXES)


def scan_nifti(source: FileSource, opener: Opener) -> Series:
    """Judge a NIfTI file as a series of its own.

    Raises
    ------
    HeaderError
        If it is no NIfTI volume of plain numbers.
    DicomError
        If it cannot be read.
    """
    header, voxels, digest = _load(source, opener)
    voxels, geometry = _oriented(affine_lps(header), voxels)
    hu, scope = _judge_values(voxels)
    if header["descrip"].item() == MEAN_SPACING_MARK.encode():
        scope.append(_mean_spacing())
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
    return _oriented(affine_lps(header), voxels)[0]


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


def _mean_spacing() -> Reason:
    return Reason(
        MEAN_SPACING,
        "The file's header holds a mean slice spacing: the slices between the first and the last one do not lie where "
        "it says. The true positions are in the JSON file written with it; analyse the original DICOM series.",
    )


def _load(source: FileSource, opener: Opener) -> tuple[Nifti1Header, VoxelArray, bytes]:
    """Return the header, the voxels as (k, j, i) after scaling, a digest of the content."""
    reader = opener.open(source)
    try:
        header, stored_ijk = _read(reader)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise HeaderError("nifti.damaged", f"{source.path.name} is damaged and cannot be unpacked.") from error
    finally:
        reader.close()
    stored = stored_ijk.T
    digest = hashlib.sha256(header.binaryblock)
    digest.update(np.ascontiguousarray(stored).data)
    return header, _scaled(stored, _slope_intercept(header)), digest.digest()


def _read(reader: ByteReader) -> tuple[Nifti1Header, NDArray[Any]]:
    """Return the header and the stored voxels (i, j, k); nothing is read beyond what the header announces."""
    if reader.read_at(0, 2) == b"\x1f\x8b":
        packed = reader.read_at(0, reader.size)
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            header = parse_header(stream.read(LONGEST_HEADER_BYTES))
            _require_voxels(header, DEFLATE_GREATEST_EXPANSION * len(packed))
            return header, _stored(header, stream)
    header = parse_header(reader.read_at(0, LONGEST_HEADER_BYTES))
    _require_voxels(header, reader.size)
    return header, _stored(header, io.BytesIO(reader.read_at(0, _end(header))))


def _end(header: Nifti1Header) -> int:
    """Return how many bytes the header announces, itself included."""
    voxels = math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    return int(header.get_data_offset() + voxels)


def _require_voxels(header: Nifti1Header, most_bytes: int) -> None:
    if _end(header) > most_bytes:
        raise HeaderError(
            "nifti.truncated",
            f"The file is cut short: {_end(header)} bytes are announced, it holds no more than {most_bytes}.",
        )


def _stored(header: Nifti1Header, stream: BinaryIO | gzip.GzipFile) -> NDArray[Any]:
    try:
        stored: NDArray[Any] = header.raw_data_from_fileobj(stream)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise
    except OSError as error:  # nibabel's own, as the bytes are in memory: fewer than announced
        raise HeaderError(
            "nifti.truncated", f"The file is cut short: fewer than the {_end(header)} bytes announced are there."
        ) from error
    except MemoryError as error:
        raise HeaderError("nifti.too_large", f"Its {_end(header)} bytes do not fit the free memory.") from error
    return stored.reshape(stored.shape[:3])


def parse_header(data: bytes) -> Nifti1Header:
    """Parse and check the header of a NIfTI-1 or NIfTI-2 file.

    Parameters
    ----------
    data
        The first 540 bytes of the file, or all of a shorter one.

    Raises
    ------
    HeaderError
        If it is none, or describes no single volume of plain numbers, or one above 4 GiB.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    kind: Any = next((one for one in (Nifti1Header, Nifti2Header) if one.may_contain_header(data)), None)
    header: Nifti1Header | None = None if kind is None else kind(data[: kind.sizeof_hdr], check=False)
    if header is None or header["magic"].item() != header.single_magic:
        raise HeaderError("nifti.not_nifti", "It is no NIfTI file in one piece.")
    shape = _shape(header)
    if len(shape) < 3 or min(shape[:3]) < 1 or any(size != 1 for size in shape[3:]):
        raise HeaderError("nifti.dimensions", f"Its dimensions {list(shape)} are no 3D volume.")
    _require_numbers(header)
    offset = float(header["vox_offset"])
    if not header.sizeof_hdr <= offset < LATEST_VOXELS_START:
        header.set_data_offset(header.single_vox_offset)
    if _end(header) > MOST_BYTES:
        raise HeaderError("nifti.too_large", f"It would fill {_end(header)} bytes, beyond the limit of 4 GiB.")
    return header


def _shape(header: Nifti1Header) -> tuple[int, ...]:
    from nibabel.spatialimages import HeaderDataError

    try:
        return tuple(map(int, header.get_data_shape()))
    except HeaderDataError as error:
        raise HeaderError("nifti.dimensions", "Its dimensions contradict each other.") from error


def _require_numbers(header: Nifti1Header) -> None:
    code = int(header["datatype"])
    try:
        dtype = header.get_data_dtype()
    except KeyError as error:
        raise HeaderError("nifti.datatype", f"Its data type {code} is unknown.") from error
    if dtype.kind not in "iuf" or not 1 <= dtype.itemsize <= 8:
        raise HeaderError("nifti.datatype", f"Its data type {code} is none of plain numbers.")


def _slope_intercept(header: Nifti1Header) -> tuple[float, float]:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise HeaderError("nifti.scaling", "Its scaling is damaged: the intercept is no finite number.") from error
    return (1.0, 0.0) if slope is None else (slope, intercept)


def affine_lps(header: Nifti1Header) -> FloatArray | None:
    """Return the affine from (i, j, k, 1) to LPS mm, shape (4, 4): the sform, else the qform; None if unusable."""
    from nibabel.spatialimages import HeaderDataError

    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # the standard: any other value counts as 1
    try:
        ras, code = header.get_sform(coded=True)
        if code <= 0:
            ras, code = header.get_qform(coded=True)
    except (HeaderDataError, ValueError):
        return None
    if code <= 0 or not np.isfinite(ras).all() or abs(np.linalg.det(ras[:3, :3])) < 1e-9:
        return None
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras, dtype=np.float64)


def _scaled(stored: NDArray[Any], scaling: tuple[float, float]) -> VoxelArray:
    """Apply the scaling; int16 where every value is whole and fits, else float32."""
    slope, intercept = scaling
    unscaled = scaling == (1.0, 0.0) and stored.dtype.kind in "iu"
    if unscaled and fits_int16(int(stored.min()), int(stored.max())):
        return stored.astype(np.int16)
    with np.errstate(over="ignore", invalid="ignore"):  # found right below
        values = stored.astype(np.float64) * slope + intercept
    if not (np.abs(values) <= np.finfo(np.float32).max).all():
        raise HeaderError("nifti.not_finite", "Some voxels are no finite numbers, or too large to be any.")
    if fits_int16(values.min(), values.max()) and bool(np.all(values == np.rint(values))):
        return values.astype(np.int16)
    return values.astype(np.float32)


def _oriented(affine: FloatArray | None, voxels: VoxelArray) -> tuple[VoxelArray, VolumeGeometry | None]:
    """Bring (k, j, i) into axial order and place it; without a usable affine it stays as it is."""
    if affine is None:
        return voxels, None
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    nearest_axes = io_orientation(affine)
    if np.isnan(nearest_axes).any():
        return voxels, None
    turned: VoxelArray = np.ascontiguousarray(apply_orientation(voxels.T, nearest_axes).T)
    row, column, step, origin = (affine @ inv_ornt_aff(nearest_axes, voxels.T.shape))[:3].T
    row_mm, column_mm = float(np.linalg.norm(column)), float(np.linalg.norm(row))
    cosines = orthonormal(tuple(np.concatenate([row / column_mm, column / row_mm])))
    if cosines is None:
        return turned, None
    try:
        geometry = VolumeGeometry(
            row_cosine_lps=cosines[0],
            column_cosine_lps=cosines[1],
            pixel_spacing_mm=(row_mm, column_mm),
            origins_lps_mm=origin + np.arange(len(turned))[:, None] * step,
            rows=turned.shape[1],
            columns=turned.shape[2],
        )
    except GeometryError:  # such as an origin so far away that float64 cannot tell the slices apart
        return turned, None
    return turned, geometry
