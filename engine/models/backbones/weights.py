"""Backbone weights that the user brought: each stored once, in a folder of its own named by its hash. No torch here."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from engine.config import FrozenConfig, describe_validation
from engine.errors import PackageError

RECORD_FILE = "backbone.json"
WEIGHTS_FILE = "weights.safetensors"
_DIGEST_IN_NAME = 12


class BackboneRecord(FrozenConfig):
    """What ``backbone.json`` keeps beside the weights.

    Attributes
    ----------
    name
        The backbone's name, as in manifests.
    weights_digest
        sha256 of the stored weights file; manifests refer to it.
    source_name, source_digest
        File name (without folders) and sha256 of the published file that it was made from. Of fine-tuned weights: the
        run's name, and the sha256 of its configuration.
    licence, origin
        As the user confirmed them.
    accepted
        When the user accepted the licence, UTC.
    config
        The user's ``config.json``, for networks that need one.
    facts
        What the configuration decided: see `engine.models.backbones.spec.resolved_facts`.
    n_parameters
        Number of values in the stored file.
    parent_digest
        sha256 of the weights that a run fine-tuned these from; None for published ones. Fine-tuned weights are used
        only where they are asked for by their digest.
    """

    schema_version: int = Field(default=1, ge=1, le=1)
    name: str = Field(min_length=1, max_length=200)
    weights_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    source_name: str = Field(min_length=1, max_length=255)
    source_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    licence: str = Field(min_length=1, max_length=500)
    origin: str = Field(min_length=1, max_length=1000)
    accepted: datetime
    config: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = Field(default_factory=dict)
    n_parameters: int = Field(ge=1)
    parent_digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class StoredBackbone:
    """One folder of the store."""

    folder: Path
    record: BackboneRecord

    @property
    def weights(self) -> Path:
        """The safetensors file, under the network's own names."""
        return self.folder / WEIGHTS_FILE


class BackboneStore:
    """The backbones under one folder; it need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str, weights_digest: str) -> Path:
        """Return where these weights are, or would be."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48]
        return self.root / f"{slug}-{weights_digest[:_DIGEST_IN_NAME]}"

    def list(self) -> tuple[StoredBackbone, ...]:
        """Return every usable folder, by name and then the newest first; damaged ones are told by `broken`."""
        found = [item for item in self._read_all() if isinstance(item, StoredBackbone)]
        return tuple(sorted(found, key=lambda item: (item.record.name, -item.record.accepted.timestamp())))

    def broken(self) -> tuple[PackageError, ...]:
        """Return why folders of the store cannot be used."""
        return tuple(item for item in self._read_all() if isinstance(item, PackageError))

    def find(self, name: str, weights_digest: str | None = None) -> StoredBackbone | None:
        """Return the weights with this digest, or the newest published ones of this name; None where there are none."""
        matching = [item for item in self.list() if item.record.name == name]
        if weights_digest is not None:
            matching = [item for item in matching if item.record.weights_digest == weights_digest]
        else:
            matching = [item for item in matching if item.record.parent_digest is None]
        return matching[0] if matching else None

    def remove(self, stored: StoredBackbone) -> None:
        """Delete stored weights.

        Raises
        ------
        PackageError
            If the folder cannot be deleted (kind ``environment``).
        """
        try:
            shutil.rmtree(stored.folder)
        except OSError as error:
            raise PackageError(
                f"The stored backbone {stored.folder} was not deleted: {error.strerror}.",
                hint="Check the folder's permissions, and close what uses it.",
                code="backbone.not_deleted",
                kind="environment",
            ) from error

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """Give a temporary folder inside the store that is gone afterwards, unless it was renamed.

        Raises
        ------
        PackageError
            If the store cannot be written (kind ``environment``).
        """
        temporary: Path | None = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=self.root))
            temporary.chmod(0o755)
            yield temporary
        except OSError as error:
            raise not_stored(self.root, error.strerror or type(error).__name__) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def keep(self, temporary: Path, record: BackboneRecord) -> StoredBackbone:
        """Write the record beside the weights in a folder of `new_folder`, and give it its name.

        Weights that are there already are left as they are, terms included.

        Raises
        ------
        PackageError
            If what is there already is damaged.
        """
        (temporary / RECORD_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        folder = self.folder(record.name, record.weights_digest)
        if not folder.exists():
            temporary.rename(folder)
        stored = self.find(record.name, record.weights_digest)
        if stored is None:
            raise not_stored(folder, "what is there already is damaged; delete it first")
        return stored

    def _read_all(self) -> tuple[StoredBackbone | PackageError, ...]:
        if not self.root.is_dir():
            return ()
        folders = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        return tuple(_read_folder(folder) for folder in folders)


def _read_folder(folder: Path) -> StoredBackbone | PackageError:
    try:
        record = BackboneRecord.model_validate(json.loads((folder / RECORD_FILE).read_bytes()))
        if not (folder / WEIGHTS_FILE).is_file():
            return _broken(folder, f"{WEIGHTS_FILE} is missing")
    except OSError as error:
        return _broken(folder, f"{RECORD_FILE}: {error.strerror}")
    except ValidationError as error:
        return _broken(folder, f"{RECORD_FILE}: {describe_validation(error)}")
    except ValueError:
        return _broken(folder, f"{RECORD_FILE} is not valid JSON")
    return StoredBackbone(folder, record)


def not_stored(folder: Path, reason: str) -> PackageError:
    """Return the error for weights that could not be added."""
    return PackageError(
        f"The backbone was not stored in {folder}: {reason}.",
        hint="Make room, check the folder's permissions, or choose another with --out DIR.",
        code="backbone.not_stored",
        kind="environment",
    )


def _broken(folder: Path, reason: str) -> PackageError:
    return PackageError(
        f"The stored backbone {folder} cannot be used: {reason}.",
        hint="Delete the folder and convert the published file again.",
        code="backbone.broken",
        kind="environment",
    )
