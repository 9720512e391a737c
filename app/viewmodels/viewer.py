"""The axial viewer: which slice, window, zoom and tool, and what lies under the pointer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from app.viewmodels.display import DisplayOrientation, automatic_window, orientation_for, to_gray
from app.viewmodels.marks import MarksModel
from engine.geometry import Volume

MIN_ZOOM, MAX_ZOOM = 0.25, 32.0
MIN_WIDTH = 1.0
DEFAULT_TOOL = "pan"
EMPTY_TEXT = "Open a folder, file or ZIP…, or drop it here."


@dataclass(frozen=True)
class WindowPreset:
    """A named window. Centre and width in HU; None means the range of the volume itself."""

    key: str
    label: str
    shortcut: str
    center: float | None
    width: float | None


PRESETS: tuple[WindowPreset, ...] = (
    WindowPreset("brain", "Brain", "1", 40.0, 80.0),
    WindowPreset("subdural", "Subdural", "2", 75.0, 215.0),
    WindowPreset("stroke", "Stroke", "3", 40.0, 40.0),
    WindowPreset("bone", "Bone", "4", 600.0, 2800.0),
    WindowPreset("soft_tissue", "Soft tissue", "5", 60.0, 400.0),
    WindowPreset("wide_brain", "Wide brain", "6", 40.0, 150.0),
    WindowPreset("full", "Full range", "0", None, None),
)
PRESETS_BY_KEY = {preset.key: preset for preset in PRESETS}


@dataclass(frozen=True)
class SeriesInfo:
    """What the viewer writes beside the picture.

    Attributes
    ----------
    banner
        Why the series is refused or not for the classifier, in words; empty if it is not.
    slice_thickness_mm
        DICOM's SliceThickness of every slice, in the volume's order; None where the source has none.
    """

    series_uid: str
    title: str = ""
    description: str = ""
    banner: str = ""
    slice_thickness_mm: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Probe:
    """The voxel under the pointer. `lps_mm` is None for a 2D stack."""

    slice_index: int
    row: int
    column: int
    value: float
    units: str
    lps_mm: tuple[float, float, float] | None

    @property
    def text(self) -> str:
        """The voxel in one line, such as ``37 HU   R 12.0  P 3.5  H 40.1 mm``."""
        number = f"{self.value:.0f}" if float(self.value).is_integer() else f"{self.value:.1f}"
        value = f"{number} HU" if self.units == "HU" else f"{number} (not HU)"
        if self.lps_mm is None:
            return f"{value}   row {self.row}  column {self.column}"
        names = (("R", "L"), ("A", "P"), ("F", "H"))
        places = "  ".join(f"{pair[mm >= 0]} {abs(mm):.1f}" for pair, mm in zip(names, self.lps_mm, strict=True))
        return f"{value}   {places} mm"


class ViewerModel:
    """State of the viewer. Coordinates on the screen are those of `app.viewmodels.display`."""

    volume_changed = Signal()
    slice_changed = Signal(int)
    window_changed = Signal(float, float)
    view_changed = Signal()
    probe_changed = Signal(object)
    tool_changed = Signal(str)
    smoothing_changed = Signal(bool)
    overlays_changed = Signal(bool)

    def __init__(self) -> None:
        self._volume: Volume | None = None
        self._info: SeriesInfo | None = None
        self._orientation = DisplayOrientation()
        self._slice_index = 0
        self._window = (40.0, 80.0)
        self._preset: str | None = "brain"
        self._zoom = 1.0
        self._centre = (0.5, 0.5)
        self._probe: Probe | None = None
        self._tool = DEFAULT_TOOL
        self._smooth = True
        self._overlays = True
        self.message = EMPTY_TEXT
        self.marks = MarksModel()

    # -- the volume ---------------------------------------------------------------------------------------------

    @property
    def volume(self) -> Volume | None:
        """The volume shown, or None."""
        return self._volume

    @property
    def info(self) -> SeriesInfo | None:
        """What stands beside the picture."""
        return self._info

    @property
    def orientation(self) -> DisplayOrientation:
        """How stored slices are turned for the screen."""
        return self._orientation

    def set_volume(self, volume: Volume | None, series_info: SeriesInfo | None, message: str = EMPTY_TEXT) -> None:
        """Show a volume from its middle slice, fitted.

        Parameters
        ----------
        volume
            None empties the viewer; `message` then says why (nothing open, still reading, refused and the reason).
        """
        self._volume, self._info, self.message = volume, series_info, message
        self._probe = None
        self._orientation = orientation_for(volume.geometry if volume is not None else None)
        if volume is not None:
            self._slice_index = len(volume.voxels) // 2
            hounsfield = volume.units == "HU"
            self._preset = (self._preset or "brain") if hounsfield else "full"
            self._window = self._preset_window(PRESETS_BY_KEY[self._preset])
        else:
            self._slice_index = 0
        self._reset_view()
        self.volume_changed.emit()
        if volume is not None:
            self.slice_changed.emit(self._slice_index)
            self.window_changed.emit(*self._window)

    @property
    def n_slices(self) -> int:
        """Number of slices shown; 0 without a volume."""
        return 0 if self._volume is None else len(self._volume.voxels)

    @property
    def plane_size(self) -> tuple[float, float]:
        """Width and height of the displayed slice, in millimetres (pixels for a 2D stack)."""
        rows, columns = self._shape_rc()
        row_mm, column_mm = self.pixel_size
        height, width = rows * row_mm, columns * column_mm
        return (height, width) if self._orientation.transpose else (width, height)

    def _shape_rc(self) -> tuple[int, int]:
        return (1, 1) if self._volume is None else self._volume.voxels.shape[1:]

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Distance between rows and between columns of the stored slice, in millimetres; 1 and 1 for a 2D stack."""
        geometry = None if self._volume is None else self._volume.geometry
        return (1.0, 1.0) if geometry is None else geometry.pixel_spacing_mm

    # -- slices -------------------------------------------------------------------------------------------------

    @property
    def slice_index(self) -> int:
        """Index of the acquired slice shown; 0 is the first along the normal."""
        return self._slice_index

    @slice_index.setter
    def slice_index(self, index: int) -> None:
        index = int(np.clip(index, 0, max(self.n_slices - 1, 0)))
        if index == self._slice_index:
            return
        self._slice_index = index
        self.slice_changed.emit(index)
        self._refresh_probe()

    def scroll(self, steps: int) -> None:
        """Move by whole slices; positive is towards the last slice. Stops at the ends."""
        self.slice_index = self._slice_index + steps

    def displayed_gray(self) -> NDArray[np.uint8] | None:
        """Return the slice as it goes on the screen: uint8 [row, column], C order; None without a volume."""
        if self._volume is None:
            return None
        gray = to_gray(self._volume.voxels[self._slice_index], *self._window)
        return np.ascontiguousarray(self._orientation.apply(gray)).view(np.uint8)

    # -- window -------------------------------------------------------------------------------------------------

    @property
    def window(self) -> tuple[float, float]:
        """Centre and width, in HU where the volume is."""
        return self._window

    @window.setter
    def window(self, center_width: tuple[float, float]) -> None:
        self._preset = None
        self._apply_window(center_width)

    @property
    def preset(self) -> str | None:
        """Key of the preset in use; None after the window was dragged."""
        return self._preset

    def set_preset(self, key: str) -> None:
        """Apply a preset of `PRESETS` at once."""
        self._preset = key
        self._apply_window(self._preset_window(PRESETS_BY_KEY[key]), force=True)

    def adjust_window(self, delta_center: float, delta_width: float) -> None:
        """Move the window by these amounts; the width stays at or above 1."""
        center, width = self._window
        self.window = (center + delta_center, width + delta_width)

    def _apply_window(self, center_width: tuple[float, float], force: bool = False) -> None:
        window = float(center_width[0]), max(float(center_width[1]), MIN_WIDTH)
        if window != self._window or force:
            self._window = window
            self.window_changed.emit(*window)

    def _preset_window(self, preset: WindowPreset) -> tuple[float, float]:
        if preset.center is not None and preset.width is not None:
            return preset.center, preset.width
        if self._volume is None:
            return self._window
        return automatic_window(self._volume.voxels, self._volume.padding_value)

    # -- zoom and pan -------------------------------------------------------------------------------------------

    @property
    def zoom(self) -> float:
        """Magnification against the fitted slice; 1 is fitted."""
        return self._zoom

    @property
    def centre(self) -> tuple[float, float]:
        """The point of the plane in the middle of the screen."""
        return self._centre

    def fit(self) -> None:
        """Show the whole slice, centred."""
        self._reset_view()
        self.view_changed.emit()

    def zoom_by(self, factor: float, anchor: tuple[float, float] | None = None) -> None:
        """Magnify by `factor`; the point `anchor` of the plane stays where it is on the screen."""
        zoom = float(np.clip(self._zoom * factor, MIN_ZOOM, MAX_ZOOM))
        ratio = zoom / self._zoom
        x, y = anchor or self._centre
        self._centre = x + (self._centre[0] - x) / ratio, y + (self._centre[1] - y) / ratio
        self._zoom = zoom
        self._keep_centre_inside()
        self.view_changed.emit()

    def pan_by(self, dx: float, dy: float) -> None:
        """Move the picture under the screen by this much of the plane; its centre stays on the slice."""
        self._centre = self._centre[0] - dx, self._centre[1] - dy
        self._keep_centre_inside()
        self.view_changed.emit()

    def _keep_centre_inside(self) -> None:
        width, height = self.plane_size
        self._centre = float(np.clip(self._centre[0], 0, width)), float(np.clip(self._centre[1], 0, height))

    def _reset_view(self) -> None:
        width, height = self.plane_size
        self._zoom, self._centre = 1.0, (width / 2, height / 2)

    # -- pointer ------------------------------------------------------------------------------------------------

    @property
    def tool(self) -> str:
        """Key of the tool on the left button."""
        return self._tool

    @tool.setter
    def tool(self, key: str) -> None:
        if key != self._tool:
            self._tool = key
            self.tool_changed.emit(key)

    @property
    def probe(self) -> Probe | None:
        """The voxel under the pointer."""
        return self._probe

    def probe_at(self, x: float | None, y: float | None = None) -> None:
        """Read the voxel at this point of the plane; None, or a point off the slice, clears the probe."""
        index = None if x is None or y is None else self.index_at(x, y)
        probe = None if index is None else self._read(*index)
        if probe != self._probe:
            self._probe = probe
            self.probe_changed.emit(probe)

    def index_at(self, x: float, y: float) -> tuple[int, int] | None:
        """Return the stored (row, column) under a point of the plane, or None off the slice."""
        width, height = self.plane_size
        if self._volume is None or not (0 <= x < width and 0 <= y < height):
            return None
        row_mm, column_mm = self.pixel_size
        across, down = (row_mm, column_mm) if self._orientation.transpose else (column_mm, row_mm)
        return self._orientation.stored_index(int(y // down), int(x // across), self._shape_rc())

    def nearest_index(self, x: float, y: float) -> tuple[int, int] | None:
        """Return the stored (row, column) nearest to a point of the plane, on or off the slice."""
        width, height = self.plane_size
        inside = [float(np.clip(value, 0, np.nextafter(size, 0))) for value, size in ((x, width), (y, height))]
        return self.index_at(*inside)

    def _read(self, row: int, column: int) -> Probe | None:
        volume, k = self._volume, self._slice_index
        if volume is None:
            return None
        lps = None
        if volume.geometry is not None:
            lps = tuple(float(mm) for mm in volume.geometry.kji_to_lps(np.array([k, row, column], dtype=np.float64)))
        return Probe(k, row, column, float(volume.voxels[k, row, column]), volume.units, lps)

    def _refresh_probe(self) -> None:
        if self._probe is not None:
            self._probe = self._read(self._probe.row, self._probe.column)
            self.probe_changed.emit(self._probe)

    # -- look ---------------------------------------------------------------------------------------------------

    @property
    def smooth(self) -> bool:
        """Whether the picture is interpolated between pixels."""
        return self._smooth

    @smooth.setter
    def smooth(self, smooth: bool) -> None:
        self._smooth = smooth
        self.smoothing_changed.emit(smooth)

    @property
    def overlays(self) -> bool:
        """Whether text is written over the picture (edge letters and warnings always are)."""
        return self._overlays

    @overlays.setter
    def overlays(self, overlays: bool) -> None:
        self._overlays = overlays
        self.overlays_changed.emit(overlays)

    def position_text(self) -> str:
        """Return the slice number with position, thickness and spacing, as the corner overlay shows it."""
        if self._volume is None:
            return ""
        kind = "Slice" if self._volume.geometry is not None else "Image"
        lines = [f"{kind} {self._slice_index + 1} / {self.n_slices}"]
        geometry = self._volume.geometry
        if geometry is None:
            return "\n".join([*lines, "No position in space"])
        lines.append(f"Position {geometry.positions_mm[self._slice_index]:.1f} mm")
        thicknesses = self._info.slice_thickness_mm if self._info is not None else ()
        thickness = thicknesses[self._slice_index] if self._slice_index < len(thicknesses) else None
        if thickness is not None:
            lines.append(f"Thickness {thickness:.1f} mm")
        gap = self._gap_text()
        return "\n".join([*lines, gap] if gap else lines)

    def _gap_text(self) -> str:
        spacing = self._volume.require_geometry().normal_spacing_mm if self._volume is not None else np.empty(0)
        if not len(spacing):
            return ""
        k = self._slice_index
        gaps = [f"{spacing[k - 1]:.1f}" if k > 0 else "–", f"{spacing[k]:.1f}" if k < len(spacing) else "–"]
        return f"Spacing {gaps[0]} mm" if gaps[0] == gaps[1] else f"Spacing {gaps[0]} | {gaps[1]} mm"
