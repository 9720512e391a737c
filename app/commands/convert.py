"""convert: write a series as NIfTI, as acquired or as the classifier sees it."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.commands.base import Environment, require_existing, say
from app.commands.infer import load_input

NAME = "convert"
SUMMARY = "write a series as NIfTI: the acquired volume, or the prepared one that the classifier reads"
ORDER = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="folder, file or ZIP of DICOM, or a NIfTI file")
    parser.add_argument("--stage", choices=("volume", "prepared"), required=True, help="which of the two")
    parser.add_argument("--series", metavar="UID", help="which series (default: the analysable one with most slices)")
    parser.add_argument("--out", type=Path, required=True, metavar="V.nii.gz", help="the file to write")


def run(arguments: argparse.Namespace, environment: Environment) -> int:
    """Read, convert, write."""
    require_existing(arguments.input, "input")
    from app.operations.files import require_output
    from engine.dicom.series import require_analysable
    from engine.preprocess.nifti import write_prepared_nifti, write_volume_nifti
    from engine.preprocess.prepare import prepare
    from engine.preprocess.spec import PreprocessSpec

    require_output(arguments.out)
    loaded = load_input(arguments.input, arguments.series)
    if arguments.stage == "volume":
        warnings = write_volume_nifti(loaded.volume, arguments.out)
    else:
        require_analysable(loaded.series)
        prepared = prepare(loaded.volume, PreprocessSpec())
        warnings = prepared.warnings
        write_prepared_nifti(prepared, arguments.out)
    for warning in warnings:
        say(f"note: {warning}")
    say(f"Written: {arguments.out}")
    return 0
