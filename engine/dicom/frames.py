"""Stored values of single instances: uncompressed, deflated or compressed alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.dicom.archive import Opener
from engine.dicom.header import HeaderError, read_header
from engine.dicom.pixels import decode_frames, read_frame, stored_dtype
from engine.dicom.rescale import clean_stored
from engine.dicom.series import FileSource, Instance, PixelLayout
from engine.dicom.source import ByteReader, MemoryReader, unreadable
from engine.errors import DicomError


def stored_frames(opener: Opener, source: FileSource, instances: Sequence[Instance]) -> Iterator[NDArray[np.integer]]:
    """Read the stored values of several instances of one file.

    Parameters
    ----------
    instances
        All of `source`, in the order in which they are wanted.

    Yields
    ------
    NDArray
        Shape (rows, columns), native byte order, unused bits dropped, sign extended; not yet rescaled.

    Raises
    ------
    DicomError
        If the file cannot be read or decoded.
    """
    reader = opener.open(source)
    try:
        layout = _layout(instances[0])
        if layout.encapsulated:
            frames = decode_frames(reader.read_at(0, reader.size), source, layout, [item.frame for item in instances])
            for decoded in frames:
                yield clean_stored(np.array(decoded), layout)
            return
        reader = _inflated(reader, source) if layout.inflated else reader
        for instance in instances:
            stored: NDArray[np.integer] = np.empty((layout.rows, layout.columns), dtype=stored_dtype(layout))
            read_frame(reader, source, layout, instance.frame, stored)
            yield clean_stored(stored.astype(stored.dtype.newbyteorder("="), copy=False), layout)
    except OSError as error:
        raise unreadable(source, error) from error
    finally:
        reader.close()


def _layout(instance: Instance) -> PixelLayout:
    assert instance.layout is not None, "only DICOM instances have stored frames"
    return instance.layout


def _inflated(reader: ByteReader, source: FileSource) -> ByteReader:
    try:
        header = read_header(reader)
    except HeaderError as error:
        raise DicomError(
            f"{source.label} changed since it was scanned. {error.reason.message}",
            hint="Open the folder again.",
            code=error.reason.code,
        ) from error
    finally:
        reader.close()
    return MemoryReader(header.inflated or b"")
