"""Every viewer tool: found by the registry, keyed, and doing to the view-model what it says. No Qt."""

from __future__ import annotations

import pytest

from app.tools.base import PointerEvent, Tool
from app.tools.registry import index, tools
from app.viewmodels.viewer import ViewerModel
from tests.support.analyses import make_volume


@pytest.fixture
def viewer() -> ViewerModel:
    model = ViewerModel()
    model.set_volume(make_volume(), None)
    return model


def drag(viewer: ViewerModel, key: str, dx_px: float = 0.0, dy_px: float = 0.0, height_px: float = 480.0) -> None:
    tool = tools()[key]
    tool.press(viewer, PointerEvent(10.0, 10.0, height_px=height_px))
    event = PointerEvent(10.0 + dx_px / 4, 10.0 + dy_px / 4, dx_px / 4, dy_px / 4, dx_px, dy_px, height_px)
    tool.drag(viewer, event)
    tool.release(viewer, event)


@pytest.mark.parametrize("key", sorted(tools()))
def test_every_tool_is_named_keyed_and_survives_an_empty_viewer(key: str) -> None:
    tool = tools()[key]
    assert tool.key == key
    assert tool.label
    assert tool.help
    assert tool.icon
    assert tool.shortcut.removeprefix("Shift+").isalpha()
    drag(ViewerModel(), key, 30, 40)


def test_a_duplicate_key_or_shortcut_is_refused() -> None:
    class Copy(type(tools()["pan"])):  # type: ignore[misc]
        order = 99

    with pytest.raises(ValueError, match="pan"):
        index([tools()["pan"], Copy()])

    class SameShortcut(Tool):
        key, label, shortcut, icon, help = "other", "Other", "G", "pan", "Other."

    with pytest.raises(ValueError, match="share the key G"):
        index([tools()["pan"], SameShortcut()])


def test_pan_moves_the_picture_with_the_pointer(viewer: ViewerModel) -> None:
    x, y = viewer.centre
    drag(viewer, "pan", 40, -20)
    assert viewer.centre == pytest.approx((x - 10, y + 5))


def test_zoom_grows_upwards(viewer: ViewerModel) -> None:
    drag(viewer, "zoom", dy_px=-160)
    assert viewer.zoom == pytest.approx(2.0)
    drag(viewer, "zoom", dy_px=160)
    assert viewer.zoom == pytest.approx(1.0)


def test_window_widens_to_the_right_and_brightens_upwards(viewer: ViewerModel) -> None:
    center, width = viewer.window
    drag(viewer, "window", dx_px=50, dy_px=-25)
    assert viewer.window[1] > width
    assert viewer.window[0] < center
    assert viewer.preset is None
    drag(viewer, "window", dx_px=-100_000)
    assert viewer.window[1] == 1.0


def test_scroll_spans_all_slices_over_the_height(viewer: ViewerModel) -> None:
    viewer.slice_index = 0
    drag(viewer, "scroll", dy_px=480)
    assert viewer.slice_index == 11
    drag(viewer, "scroll", dy_px=-39)
    assert viewer.slice_index == 11
    drag(viewer, "scroll", dy_px=-40)
    assert viewer.slice_index == 10


def test_probe_reads_and_moves_nothing(viewer: ViewerModel) -> None:
    before = viewer.centre, viewer.zoom, viewer.window, viewer.slice_index
    drag(viewer, "probe", 8, 8)
    assert viewer.probe is not None
    assert (viewer.probe.row, viewer.probe.column) == (6, 12)
    assert (viewer.centre, viewer.zoom, viewer.window, viewer.slice_index) == before
