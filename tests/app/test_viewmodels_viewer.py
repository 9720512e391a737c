"""The viewer's state: orientation from the geometry, grey levels, probe, zoom. No Qt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from app.controllers.rows import series_info
from app.viewmodels.display import automatic_window, orientation_for, to_gray
from app.viewmodels.viewer import PRESETS, SeriesInfo, ViewerModel
from engine.dicom.read import read_series
from engine.dicom.scan import scan
from engine.geometry import Volume
from tests.support.analyses import make_volume

# Row and column cosines of the same head scanned in different ways.
ORIENTATIONS = {
    "supine": ((1, 0, 0), (0, 1, 0)),
    "prone": ((-1, 0, 0), (0, -1, 0)),
    "mirrored": ((-1, 0, 0), (0, 1, 0)),
    "upside down": ((1, 0, 0), (0, -1, 0)),
    "transposed": ((0, 1, 0), (1, 0, 0)),
    "transposed and flipped": ((0, -1, 0), (-1, 0, 0)),
    "tilted": ((1, 0, 0), (0, 0.948, -0.3183)),
}


def opened(volume: Volume) -> ViewerModel:
    model = ViewerModel()
    model.set_volume(volume, SeriesInfo("1.2.3", slice_thickness_mm=(5.0,) * len(volume.voxels)))
    return model


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_radiological_convention_follows_from_the_geometry(name: str) -> None:
    row, column = (np.array(vector, dtype=float) for vector in ORIENTATIONS[name])
    column /= np.linalg.norm(column)
    volume = make_volume(row_cosine=tuple(row), column_cosine=tuple(column))
    turn = orientation_for(volume.geometry)
    assert (turn.left, turn.right, turn.top, turn.bottom) == ("R", "L", "A", "P")


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_patient_right_is_shown_on_the_left(name: str) -> None:
    row, column = (np.array(vector, dtype=float) for vector in ORIENTATIONS[name])
    column /= np.linalg.norm(column)
    volume = make_volume(row_cosine=tuple(row), column_cosine=tuple(column))
    assert volume.geometry is not None
    model = opened(volume)
    width, height = model.plane_size
    model.probe_at(0.5, height / 2)
    left = model.probe
    model.probe_at(width - 0.5, height / 2)
    right = model.probe
    assert left is not None
    assert right is not None
    assert left.lps_mm is not None
    assert right.lps_mm is not None
    assert left.lps_mm[0] < right.lps_mm[0]
    expected = volume.geometry.kji_to_lps(np.array([left.slice_index, left.row, left.column], dtype=float))
    assert left.lps_mm == pytest.approx(tuple(expected))
    assert left.value == volume.voxels[left.slice_index, left.row, left.column]


@pytest.mark.parametrize("name", ["supine", "prone", "transposed", "transposed and flipped"])
def test_the_pixel_drawn_is_the_voxel_probed(name: str) -> None:
    row, column = ORIENTATIONS[name]
    model = opened(make_volume(row_cosine=row, column_cosine=column))
    model.window = (250.0, 2500.0)
    gray = model.displayed_gray()
    assert gray is not None
    rows, columns = gray.shape
    width, height = model.plane_size
    for r, c in ((0, 0), (3, 7), (rows - 1, columns - 1)):
        model.probe_at((c + 0.5) * width / columns, (r + 0.5) * height / rows)
        assert model.probe is not None
        assert gray[r, c] == to_gray(np.array([[model.probe.value]], dtype=np.float32), 250.0, 2500.0)[0, 0]


def test_coronal_and_oblique_directions_are_named() -> None:
    coronal = orientation_for(make_volume(row_cosine=(1, 0, 0), column_cosine=(0, 0, -1)).geometry)
    assert (coronal.left, coronal.top) == ("R", "H")
    slanted = 1 / np.sqrt(2)
    oblique = orientation_for(
        make_volume(row_cosine=(slanted, slanted, 0), column_cosine=(-slanted, slanted, 0)).geometry
    )
    assert set(oblique.right) == {"L", "P"}


def test_window_ends_are_black_and_white() -> None:
    values = np.array([[-32768, -1, 0, 40, 80, 81, 32767]], dtype=np.int16)
    for array in (values, values.astype(np.float32)):
        assert to_gray(array, 40, 80)[0].tolist() == [0, 0, 0, 128, 255, 255, 255]


def test_the_table_for_int16_equals_the_formula() -> None:
    values = np.random.default_rng(1).integers(-32768, 32767, (50, 60)).astype(np.int16)
    for center, width in ((40, 80), (600, 2800), (-3.5, 1)):
        assert np.array_equal(to_gray(values, center, width), to_gray(values.astype(np.float32), center, width))


def test_automatic_window_leaves_padding_out() -> None:
    voxels = np.full((2, 50, 50), -2000, dtype=np.int16)
    voxels[:, 20:30, 20:30] = np.arange(100).reshape(10, 10)
    center, width = automatic_window(voxels, -2000)
    assert center - width / 2 > -5
    assert center + width / 2 < 105


def test_presets_have_distinct_keys_and_brain_is_the_start() -> None:
    assert len({preset.shortcut for preset in PRESETS}) == len(PRESETS)
    assert opened(make_volume()).window == (40.0, 80.0)


def test_values_that_are_not_hu_open_in_their_own_range_and_say_so() -> None:
    model = opened(make_volume(units="unknown"))
    assert model.preset == "full"
    assert model.window[1] > 1000
    model.probe_at(1, 1)
    assert model.probe is not None
    assert "not HU" in model.probe.text


def test_a_2d_stack_has_no_millimetres() -> None:
    model = opened(make_volume(located=False))
    assert model.plane_size == (48.0, 40.0)
    assert "mm" not in model.position_text()
    model.probe_at(5.5, 7.5)
    assert model.probe is not None
    assert model.probe.lps_mm is None
    assert "mm" not in model.probe.text


def test_slices_stop_at_the_ends_and_emit_once() -> None:
    model = opened(make_volume())
    seen: list[int] = []
    model.slice_changed.connect(seen.append)
    model.scroll(100)
    model.scroll(1)
    model.slice_index = -5
    assert seen == [11, 0]


def test_zoom_keeps_the_anchor_in_place() -> None:
    model = opened(make_volume())
    anchor = (12.0, 50.0)
    before = tuple((a - c) * model.zoom for a, c in zip(anchor, model.centre, strict=True))
    model.zoom_by(2.5, anchor)
    after = tuple((a - c) * model.zoom for a, c in zip(anchor, model.centre, strict=True))
    assert after == pytest.approx(before)
    model.fit()
    assert model.zoom == 1.0
    assert model.centre == (24.0, 40.0)


def test_position_text_shows_uneven_spacing() -> None:
    volume = make_volume()
    assert volume.geometry is not None
    origins = volume.geometry.origins_lps_mm.copy()
    origins[7:] += np.array([0, 0, 2.0])
    geometry = type(volume.geometry)(
        volume.geometry.row_cosine_lps, volume.geometry.column_cosine_lps, (2.0, 1.0), origins, 40, 48
    )
    model = opened(Volume(volume.voxels, geometry, "HU", None, volume.sop_instance_uids))
    model.slice_index = 6
    assert "Slice 7 / 12" in model.position_text()
    assert "Spacing 5.0 | 7.0 mm" in model.position_text()
    assert "Thickness 5.0 mm" in model.position_text()


def test_every_slice_read_from_disk_shows_its_own_thickness(ge_tilt: Path) -> None:
    series = max(scan([ge_tilt]).series, key=lambda item: item.n_slices)
    model = ViewerModel()
    model.set_volume(read_series(series), series_info(series))
    shown = set()
    for k, instance in enumerate(series.instances):
        model.slice_index = k
        thickness = float(pydicom.dcmread(instance.source.path, stop_before_pixels=True).SliceThickness)
        assert f"Thickness {thickness:.1f} mm" in model.position_text()
        shown.add(thickness)
    assert len(shown) == 2, "thin slices at the base, thick ones above"


def test_emptying_the_viewer_says_why() -> None:
    model = opened(make_volume())
    model.set_volume(None, None, "Reading…")
    assert model.message == "Reading…"
    assert model.displayed_gray() is None
    assert model.n_slices == 0
