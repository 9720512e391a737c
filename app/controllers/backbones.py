"""Backbones that the user brings: what is here, and conversions in the compute worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.controllers.session import Session
from app.jobs.compute_process import BackboneFile
from app.viewmodels.backbones import BackboneRequest, BackboneRow, Conversion, WeightsRow
from app.viewmodels.notices import Notice
from engine.errors import HeadCTError
from engine.inference.messages import BackboneStored
from engine.progress import Context


class BackboneController:
    """Implements `BackboneActions`.

    Parameters
    ----------
    session
        The window's.
    on_added
        Called when weights were stored: model packages may have waited for them.
    """

    def __init__(self, session: Session, on_added: Callable[[], None]) -> None:
        self._session, self._on_added = session, on_added

    def refresh(self) -> None:
        """Read which backbones and weights there are."""
        paths = self._session.paths

        def read(context: Context) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
            from app.operations.backbones import backbones_document, missing_needs
            from app.operations.models import open_library
            from engine.models.backbones.registry import open_registry

            registry = open_registry(paths.backbones)
            needs = missing_needs(open_library(paths), registry)
            return backbones_document(registry, needs), needs

        def show(answer: tuple[dict[str, Any], dict[str, tuple[str, ...]]]) -> None:
            document, needs = answer
            rows = tuple(backbone_row(item, needs.get(item["name"], ())) for item in document["backbones"])
            broken = tuple(f"{item['message']} {item['hint']}" for item in document["broken"])
            self._session.models.backbones.set_rows(rows, broken)

        self._session.run(read, lane="library", title="Reading the backbones", done=show, cancellable=False)

    def add(self, request: BackboneRequest) -> None:
        """Convert a published file and store its weights; one at a time."""
        model, session = self._session.models.backbones, self._session
        if model.conversion.state == "running":
            return
        title = f"Converting {request.file.name}"
        file = BackboneFile(
            request.file, request.name, request.config_file, request.licence, request.origin, request.pooled
        )
        job = session.run(
            lambda context: session.compute.convert_backbone(file, context),
            lane="compute",
            title=title,
            done=self._stored,
            failed=lambda error: self._failed(error, title),
            cancelled=lambda: self._end(Conversion("stopped", message="Stopped; nothing was stored.")),
        )
        model.conversion = Conversion("running", job.id)

    def cancel(self) -> None:
        """Stop the conversion that runs."""
        conversion = self._session.models.backbones.conversion
        if conversion.state == "running":
            self._session.runner.cancel(conversion.job_id)

    def _stored(self, stored: BackboneStored) -> None:
        text = f"{stored.name} {stored.weights_digest[:12]}: {stored.n_parameters:,} parameters are stored."
        self._session.models.notices.post(Notice("info", "Backbone weights added", text))
        self._end(Conversion("done", message=text))
        self._on_added()

    def _failed(self, error: BaseException, title: str) -> None:
        self._session.notify(error, title)
        said = (error.message, error.hint) if isinstance(error, HeadCTError) else ("It failed; see the notice.", "")
        self._end(Conversion("failed", message=said[0], hint=said[1]))

    def _end(self, conversion: Conversion) -> None:
        self._session.models.backbones.conversion = conversion
        self.refresh()


def backbone_row(item: Mapping[str, Any], needed_by: tuple[str, ...]) -> BackboneRow:
    """Return a line of the list of backbones from what `backbones_document` says of one."""
    return BackboneRow(
        name=item["name"],
        display_name=item["display_name"],
        dimensions=item["dimensions"],
        licence=item["licence"],
        origin=item["origin"],
        needs_config=item["needs_config"],
        bundled=item["bundled"] or "",
        weights=tuple(_weights_row(weights) for weights in item["stored"]),
        needed_by=needed_by,
    )


def _weights_row(weights: Mapping[str, Any]) -> WeightsRow:
    return WeightsRow(
        digest=weights["weights_digest"],
        source_name=weights["source_name"],
        licence=weights["licence"],
        origin=weights["origin"],
        accepted=weights["accepted"][:10],
        n_bytes=weights["bytes"],
        n_parameters=weights["n_parameters"],
    )
