"""What a run leaves beside its package, so that it can be looked at, gone on with, and made again.

``run.json`` holds the configuration, versions, digests and seeds; ``curve.csv`` and ``tensorboard/`` the curve. All of
it is made anew from the checkpoint's history when a run goes on, so that it never says more, or less, than happened.
"""

from __future__ import annotations

import csv
import io
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from engine.errors import TrainingError
from trainer.checkpoints import EpochRecord
from trainer.files import write_atomically, write_json

RUN_FILE = "run.json"
CURVE_FILE = "curve.csv"
BOARD_FOLDER = "tensorboard"
PACKAGES = ("torch", "timm", "peft", "accelerate", "numpy", "scipy", "scikit-learn", "zarr", "head-ct-review")
_COLUMNS = tuple(item.name for item in fields(EpochRecord))


class RunFolder:
    """The output folder of one run.

    Parameters
    ----------
    folder
        Made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history: list[EpochRecord] = []

    def begin(self, config: Mapping[str, Any], digests: Mapping[str, str], seeds: Mapping[str, int]) -> None:
        """Write ``run.json`` and forget curves of a run before this one.

        Parameters
        ----------
        config
            The whole configuration as plain values.
        digests
            Of configuration, data and weights, by name.
        seeds
            All of them, by name.
        """
        document = {"config": dict(config), "digests": dict(digests), "seeds": dict(seeds), "versions": versions()}
        write_json(self._folder / RUN_FILE, document)
        self._history = []
        shutil.rmtree(self._folder / BOARD_FOLDER, ignore_errors=True)

    def restore(self, history: Sequence[EpochRecord]) -> None:
        """Write the curve of the epochs that a checkpoint knows."""
        self._history = list(history)
        self._write_csv()
        self._write_board(self._history)

    def add(self, record: EpochRecord) -> None:
        """Add an epoch to the curves."""
        self._history.append(record)
        self._write_csv()
        self._write_board([record])

    def _write_csv(self) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for record in self._history:
            writer.writerow("" if value is None else value for value in asdict(record).values())
        write_atomically(self._folder / CURVE_FILE, text.getvalue().encode())

    def _write_board(self, records: Sequence[EpochRecord]) -> None:
        if not records:
            return
        # Only here: its import takes a while, and the window's retraining has no use for it.
        from tensorboardX import SummaryWriter

        try:
            with SummaryWriter(str(self._folder / BOARD_FOLDER), filename_suffix=f".{records[0].epoch}") as writer:
                for record in records:
                    for name, value in asdict(record).items():
                        if name != "epoch" and value is not None:
                            writer.add_scalar(name, value, record.epoch)
        except OSError as error:
            raise TrainingError(
                f"The curve in {self._folder / BOARD_FOLDER} cannot be written: {error.strerror}",
                hint="Free disk space or choose another folder.",
                code="training.write",
                kind="environment",
            ) from error


def versions() -> dict[str, str]:
    """Return what computes: Python, platform, threads, and the packages that decide the numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    found["threads"] = str(torch.get_num_threads())
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # The program itself need not be installed to run.
    return found
