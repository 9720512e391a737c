"""Where the program keeps its things, and what the user has chosen."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from engine.config import FrozenConfig, describe_validation
from engine.errors import ConfigError
from engine.inference.compute import Computing, CpuRuntimeChoice, DeviceChoice, PrecisionChoice

APP_NAME = "head-ct-review"
RESOURCES = Path(__file__).resolve().parents[1] / "resources"


@dataclass(frozen=True)
class AppPaths:
    """Every folder and file that the program writes of its own accord."""

    data: Path
    config: Path
    cache: Path
    logs: Path
    resources: Path = RESOURCES

    @classmethod
    def at(cls, home: Path | None) -> AppPaths:
        """Return the places below `home`, or the platform's user folders where `home` is None."""
        if home is not None:
            root = home.expanduser().absolute()
            return cls(data=root, config=root, cache=root / "cache", logs=root / "logs")
        import platformdirs

        folders = platformdirs.PlatformDirs(APP_NAME, appauthor=False)
        return cls(
            data=folders.user_data_path,
            config=folders.user_config_path,
            cache=folders.user_cache_path,
            logs=folders.user_log_path,
        )

    @property
    def store_file(self) -> Path:
        """The SQLite store."""
        return self.data / "store.sqlite"

    @property
    def models(self) -> Path:
        """Installed model packages."""
        return self.data / "models"

    @property
    def backbones(self) -> Path:
        """Backbone weights that the user brought."""
        return self.data / "backbones"

    @property
    def runs(self) -> Path:
        """One folder a training run."""
        return self.data / "runs"

    @property
    def arrays(self) -> Path:
        """The cache of prepared volumes and slice features."""
        return self.cache / "arrays"

    @property
    def graphs(self) -> Path:
        """Backbones converted for the CPU's own runtime."""
        return self.cache / "graphs"

    @property
    def settings_file(self) -> Path:
        """The user's settings."""
        return self.config / "settings.json"

    @property
    def bundled_models(self) -> Path:
        """Model packages that ship with the program."""
        return self.resources / "models"

    @property
    def catalogue_file(self) -> Path:
        """The findings catalogue."""
        return self.resources / "findings" / "catalogue.csv"

    @property
    def report_lexicon_file(self) -> Path:
        """How reports speak of the findings, for the offline labeller."""
        return self.resources / "findings" / "report_lexicon.toml"

    @property
    def report_labels(self) -> Path:
        """The cache of a language model's answers; no text of a report."""
        return self.cache / "report-labels"

    @property
    def demo(self) -> Path:
        """The demo studies."""
        return self.resources / "demo"

    def create(self) -> AppPaths:
        """Make the folders.

        Raises
        ------
        ConfigError
            If one cannot be made or written to.
        """
        for folder in (self.data, self.config, self.cache, self.logs, self.models, self.runs):
            _require_writable(folder)
        return self


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"The folder {folder} cannot be written: {error.strerror or type(error).__name__}.",
            hint="Choose another place with --home DIR, or correct the folder's permissions.",
            code="settings.home",
            kind="environment",
        ) from error


class Settings(FrozenConfig):
    """What the user has chosen; every field has a default that works.

    Attributes
    ----------
    reader
        Stands beside every verdict; empty until the reader gives a name.
    ask_reader
        Whether the program asks at every start who reads.
    blind_first_read
        Whether the model's output of every series is hidden until the reader commits.
    show_other_readers
        Whether a reader's sheet shows what others stated where the reader has said nothing.
    findings_density
        Whether the list of findings shows comfortable lines, or as many as fit.
    device
        Where the classifier computes.
    precision
        Of the backbone; auto takes bfloat16 where the hardware has it and the features bear it.
    cpu_runtime
        What computes the backbone on a CPU in float32; auto takes OpenVINO where it is installed.
    threads
        CPU threads of the compute worker; None leaves it to torch.
    cache_limit_mb
        How much prepared volumes and slice features may fill on disk, in MiB; 0 keeps none.
    store_url
        None is the SQLite file in the program's folder; else an SQLAlchemy URL.
    queue_paused
        Whether analyses wait until the reader lets them go on.
    watch_folder, watch_on, watch_analyse
        A folder, whether what arrives there is imported, and whether that is then analysed.
    retrain_keep_out
        Imported cohorts whose test parts stay out of every retraining: their folders.
    keys
        Key by action id, as portable text such as ``Ctrl+K``, where it is not the table's own; empty for none.
    window_geometry
        How the user left the window: Qt's own state in base64.
    """

    reader: str = Field(default="", max_length=200)
    ask_reader: bool = True
    blind_first_read: bool = False
    show_other_readers: bool = False
    findings_density: Literal["comfortable", "compact"] = "comfortable"
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
    cpu_runtime: CpuRuntimeChoice = "auto"
    threads: int | None = Field(default=None, ge=1, le=1024)
    cache_limit_mb: int = Field(default=4096, ge=0, le=1 << 24)
    store_url: str | None = None
    queue_paused: bool = False
    watch_folder: str = ""
    watch_on: bool = False
    watch_analyse: bool = True
    retrain_keep_out: tuple[str, ...] = ()
    keys: dict[str, Annotated[str, Field(max_length=50)]] = Field(default_factory=dict)
    window_geometry: str = ""


def computing(
    paths: AppPaths,
    settings: Settings,
    precision: PrecisionChoice | None = None,
    cpu_runtime: CpuRuntimeChoice | None = None,
) -> Computing:
    """Return how the backbone is to be computed: as in the settings, but for what was given."""
    return Computing(precision or settings.precision, cpu_runtime or settings.cpu_runtime, paths.graphs)


@dataclass(frozen=True)
class LoadedSettings:
    """The settings in force, and what in the file could not be used, in words."""

    settings: Settings
    problems: tuple[str, ...]


def load_settings(path: Path) -> LoadedSettings:
    """Read the settings; what is unknown or impossible is reported and its default used, never silently.

    Raises
    ------
    ConfigError
        If the file is there and cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return LoadedSettings(Settings(), ())
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, type(error).__name__) from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        return LoadedSettings(Settings(), (f"{path} is no JSON (line {error.lineno}); the defaults are used",))
    if not isinstance(document, dict):
        return LoadedSettings(Settings(), (f"{path} holds no JSON object; the defaults are used",))
    return _validated(path, document)


def _validated(path: Path, document: dict[str, Any]) -> LoadedSettings:
    try:
        return LoadedSettings(Settings.model_validate(document), ())
    except ValidationError as error:
        kept = document
        for item in error.errors():
            kept = _without(kept, item["loc"])
        problem = f"{path}: {describe_validation(error)}; the rest of the settings is used"
        return LoadedSettings(Settings.model_validate(kept), (problem,))


def _without(document: dict[str, Any], place: tuple[str | int, ...]) -> dict[str, Any]:
    """Return the document without one bad value; of a table of values only that one is left out."""
    first, *rest = place
    inner = document.get(str(first))
    if rest and isinstance(inner, dict):
        return {**document, str(first): _without(inner, tuple(rest))}
    return {key: value for key, value in document.items() if key != first}


def save_settings(path: Path, settings: Settings) -> None:
    """Write the settings, whole or not at all.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    document = json.dumps(settings.model_dump(), indent=2, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(document)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The settings file {path} cannot be written: {error.strerror or type(error).__name__}.",
            hint="Free some space or correct the folder's permissions; the settings hold until the program ends.",
            code="settings.unwritable",
            kind="environment",
        ) from error


def _unreadable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"The settings file {path} cannot be read ({reason}).",
        hint="Correct its permissions, or move it away to start from the defaults.",
        code="settings.unreadable",
        kind="environment",
    )
