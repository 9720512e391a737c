"""Files are whole or not there, and a folder that cannot be used is said in our words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import TrainingError
from trainer.files import write_atomically


def test_a_folder_that_is_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError) as caught:
        write_atomically(tmp_path / "file" / "sub" / "x.json", b"x")
    assert (caught.value.code, caught.value.kind) == ("training.write", "environment")


def test_an_interrupted_write_leaves_the_old_file_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    write_atomically(tmp_path / "x", b"old")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"old")]
