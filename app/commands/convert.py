"""convert: write a series as NIfTI, as acquired or as the classifier sees it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.base import Environment, require_existing, say
from app.commands.infer import load_input

if TYPE_CHECKING:
    from engine.dicom.series import Series

NAME = "convert"
SUMMARY = "write a series as NIfTI: the acquired volume, or the prepared one that the classifier reads"
ORDER = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="folder, file or ZIP of DICOM, or a NIfTI file")
    parser.add_argument(
        "--stage",
        choices=("volume", "prepared"),
        required=True,
        help="volume: every acquired voxel, unchanged, with the true place of every slice in V.json beside it; "
        "prepared: aligned and resampled, as the classifier reads it",
    )
    parser.add_argument(
        "--regular",
        action="store_true",
        help="with --stage volume: resample onto a regular grid, gantry tilt sheared out, uneven spacing evened out",
    )
    parser.add_argument("--series", metavar="UID", help="which series (default: the analysable one with most slices)")
    parser.add_argument("--out", type=Path, required=True, metavar="V.nii.gz", help="the file to write")
    parser.set_defaults(usage_error=parser.error)


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Read, convert, write."""
    if arguments.regular and arguments.stage != "volume":
        arguments.usage_error("--regular goes with --stage volume; the prepared volume is regular already")
    require_existing(arguments.input, "input")
    from app.operations.files import require_output
    from engine.dicom.series import require_analysable
    from engine.preprocess.nifti import sidecar_path, write_prepared_nifti, write_volume_nifti
    from engine.preprocess.prepare import prepare
    from engine.preprocess.spec import PreprocessSpec

    sidecar = sidecar_path(require_output(arguments.out))
    volume_stage = arguments.stage == "volume"
    outputs = (arguments.out, sidecar) if volume_stage else (arguments.out,)
    loaded = load_input(arguments.input, arguments.series, outputs=outputs)
    if volume_stage:
        _require_true_place(loaded.series)
        notes = write_volume_nifti(loaded.volume, arguments.out, regular=arguments.regular)
    else:
        require_analysable(loaded.series)
        prepared = prepare(loaded.volume, PreprocessSpec())
        notes = prepared.warnings
        write_prepared_nifti(prepared, arguments.out)
    for note in notes:
        say(f"note: {note}")
    say(f"Written: {' and '.join(map(str, outputs))}")
    return 0


def _require_true_place(series: Series) -> None:
    """Refuse, by name, a 2D stack, and a NIfTI file whose header is known not to place its slices."""
    from engine.dicom.nifti import MEAN_SPACING
    from engine.errors import GeometryError

    causes = list(series.reasons) if series.geometry is None else []
    causes += [reason for reason in series.scope_reasons if reason.code == MEAN_SPACING]
    if not causes:
        return
    raise GeometryError(
        f"Series {series.instance_uid} in {series.source} has no place in space that a NIfTI header could hold. "
        f"{' '.join(reason.message for reason in causes)}",
        hint="Convert the original axial CT series of the study; inspect lists what a folder holds.",
        code=causes[0].code,
    )
