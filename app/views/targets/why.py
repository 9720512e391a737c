"""What the actions on the reasons for a finding do in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.viewmodels.evidence import TABS, Tab
from app.viewmodels.explanation import CHOICES
from app.viewmodels.overlay import OPACITY_STEP
from app.views.targets.base import Target

if TYPE_CHECKING:
    from psygnal import SignalInstance


class WhyCommands(Target):
    """Implements `WhyTarget`."""

    def changes(self) -> tuple[SignalInstance, ...]:
        """Another finding, analysis or map, or something hidden."""
        models = self._models
        return (models.evidence.view_changed, models.explanation.changed, models.overlay.changed)

    def can_jump(self) -> bool:
        """Say whether the selected finding has reasons to show, slice by slice."""
        view = self._models.evidence.view
        return view is not None and view.unit == "slice"

    def can_compute(self) -> bool:
        """Say whether a map can be computed that is not there yet."""
        return self._models.explanation.can_compute

    def is_computing(self) -> bool:
        """Say whether a map is being computed."""
        return self._models.explanation.running is not None

    def has_overlay(self) -> bool:
        """Say whether the map is wanted on the image."""
        return self._models.overlay.on

    def toggle_evidence(self) -> None:
        """Show or hide the Why panel."""
        self._window.evidence_panel.setVisible(self._window.evidence_panel.isHidden())

    def show_tab(self, tab: Tab) -> None:
        """Show the Why panel with this tab."""
        self._models.evidence.tab = tab
        self._window.evidence_panel.show()

    def turn_tab(self, steps: int) -> None:
        """Show the next or previous tab."""
        names = tuple(TABS)
        self.show_tab(names[(names.index(self._models.evidence.tab) + steps) % len(names)])

    def jump_to_strongest(self, against: bool) -> None:
        """Show the slice that pushed the finding most."""
        self._models.evidence.jump_to_strongest(against)

    def toggle_split(self) -> None:
        """Split the ledger's bars, or not."""
        self._models.evidence.split = not self._models.evidence.split

    def toggle_axis(self) -> None:
        """Let the waterfall run over slices, or over paths."""
        evidence = self._models.evidence
        evidence.axis = "slices" if evidence.axis == "paths" else "paths"

    def toggle_order(self) -> None:
        """Let the waterfall start with the largest, or not."""
        evidence = self._models.evidence
        evidence.order = "place" if evidence.order == "largest" else "largest"

    def turn_method(self) -> None:
        """Choose the next kind of map."""
        explanation, keys = self._models.explanation, tuple(CHOICES)
        explanation.method = keys[(keys.index(explanation.method) + 1) % len(keys)]

    def turn_path(self) -> None:
        """Choose the next path of the expert overlay."""
        explanation = self._models.explanation
        explanation.path = (explanation.path + 1) % (explanation.n_experts + 1)

    def compute_map(self) -> None:
        """Compute the map of the finding on the slice in view."""
        self._actions.explanations.draw_map()

    def cancel_map(self) -> None:
        """Stop computing it."""
        self._actions.explanations.cancel_map()

    def toggle_overlay(self) -> None:
        """Lay the map over the image, or take it away."""
        self._models.overlay.on = not self._models.overlay.on

    def change_opacity(self, steps: int) -> None:
        """Make the map on the image more or less opaque."""
        self._models.overlay.opacity += steps * OPACITY_STEP
