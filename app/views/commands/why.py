"""Actions on the reasons for a finding."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from app.viewmodels.evidence import TABS, Tab
from app.views.commands.base import Command

ORDER = 60


class WhyTarget(Protocol):
    """What the window offers to this area."""

    def can_jump(self) -> bool:
        """Say whether the selected finding has reasons to show, slice by slice."""

    def can_compute(self) -> bool:
        """Say whether a map can be computed that is not there yet."""

    def is_computing(self) -> bool:
        """Say whether a map is being computed."""

    def has_overlay(self) -> bool:
        """Say whether the map is wanted on the image."""

    def toggle_evidence(self) -> None:
        """Show or hide the Why panel."""

    def show_tab(self, tab: Tab) -> None:
        """Show the Why panel with this tab."""

    def turn_tab(self, steps: int) -> None:
        """Show the next or previous tab."""

    def jump_to_strongest(self, against: bool) -> None:
        """Show the slice that pushed the finding most."""

    def toggle_split(self) -> None:
        """Split the ledger's bars, or not."""

    def toggle_axis(self) -> None:
        """Let the waterfall run over slices, or over paths."""

    def toggle_order(self) -> None:
        """Let the waterfall start with the largest, or not."""

    def turn_method(self) -> None:
        """Choose the next kind of map."""

    def turn_path(self) -> None:
        """Choose the next path of the expert overlay."""

    def compute_map(self) -> None:
        """Compute the map of the finding on the slice in view."""

    def cancel_map(self) -> None:
        """Stop computing it."""

    def toggle_overlay(self) -> None:
        """Lay the map over the image, or take it away."""

    def change_opacity(self, steps: int) -> None:
        """Make the map on the image more or less opaque."""


def commands(target: WhyTarget) -> tuple[Command, ...]:
    """Return the area's actions in menu order."""
    return (*_tabs(target), *_ledger(target), *_maps(target))


def _tabs(target: WhyTarget) -> tuple[Command, ...]:
    helps: dict[Tab, str] = {
        "slices": "Ledger, attention and router, slice by slice",
        "waterfall": "The logit as a sum from the bias",
        "experts": "Ledger by expert and slice, and how the study uses the experts",
        "what_if": "The value without a slice or an expert",
        "maps": "Maps over a slice, and how faithful they are",
        "similar": "Studies that the model sees as most alike",
    }
    tabs = tuple(
        Command(
            f"why_{name}", f"Why: {TABS[name]}", (f"Ctrl+{place}",), helps[name], "Why", partial(target.show_tab, name)
        )
        for place, name in enumerate(TABS, start=1)
    )
    return (
        Command("evidence", "Why panel", ("E",), "Show or hide the reasons", "Why", target.toggle_evidence),
        *tabs,
        Command("why_next", "Next reason", ("T",), "The next tab of the Why panel", "Why", partial(target.turn_tab, 1)),
        Command("why_previous", "Previous reason", ("Shift+T",), "The tab before", "Why", partial(target.turn_tab, -1)),
    )


def _ledger(target: WhyTarget) -> tuple[Command, ...]:
    up, down = "Jump to the slice that pushed it up most", "Jump to the slice that pushed it down most"
    jump = partial(target.jump_to_strongest, False)
    against = partial(target.jump_to_strongest, True)
    over = "Over frozen path and experts, or over slices"
    order = "Largest contributions first, or in order"
    return (
        Command("jump", up, ("J",), "From the ledger", "Why", jump, "jump", enabled=target.can_jump),
        Command("jump_against", down, ("Shift+J",), "From the ledger", "Why", against, enabled=target.can_jump),
        Command("split", "Split frozen path and experts", ("B",), "In the ledger's bars", "Why", target.toggle_split),
        Command("waterfall_axis", "Waterfall over experts", ("X",), over, "Why", target.toggle_axis),
        Command("waterfall_order", "Waterfall's order", ("Shift+O",), order, "Why", target.toggle_order),
    )


def _maps(target: WhyTarget) -> tuple[Command, ...]:
    compute = "Of the selected finding, on the slice in view; the compute worker does it"
    on_image = "Lay the map over the image, or take it away"
    fuller, fainter = partial(target.change_opacity, 1), partial(target.change_opacity, -1)
    return (
        Command("map_method", "Next kind of map", ("Q",), "Ledger, experts, gradients…", "Why", target.turn_method),
        Command("map_path", "Next expert's map", ("Shift+Q",), "In the expert overlay", "Why", target.turn_path),
        Command("map_compute", "Compute map", ("M",), compute, "Why", target.compute_map, enabled=target.can_compute),
        Command(
            "map_cancel",
            "Stop computing",
            ("Shift+M",),
            "The map",
            "Why",
            target.cancel_map,
            enabled=target.is_computing,
        ),
        Command(
            "map_overlay", "Map on the image", ("I",), on_image, "Why", target.toggle_overlay, is_on=target.has_overlay
        ),
        Command("map_fuller", "Map more opaque", ("Ctrl+]",), "On the image", "Why", fuller),
        Command("map_fainter", "Map less opaque", ("Ctrl+[",), "On the image", "Why", fainter),
    )
