"""From a volume to an `Analysis`: prepare, backbone, classifier, ledger, findings.

Legend: B study (always 1 here), S slice, D feature width, C finding, K expert.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from engine.analysis import (
    Analysis,
    Counterfactual,
    FindingResult,
    GeometrySummary,
    Ledger,
    ModelIdentity,
    PreparedGrid,
    SliceResult,
    Timings,
)
from engine.errors import InferenceError, PackageError
from engine.explain.counterfactual import compute_counterfactual
from engine.explain.ledger import check_ledger, compute_ledger
from engine.explain.subject import Subject
from engine.findings.catalogue import Catalogue, Finding
from engine.geometry import Volume, VolumeGeometry
from engine.inference.array_cache import ArrayCache, CacheError, array_digest
from engine.inference.compute import AUTOMATIC, Computing
from engine.inference.device import choose_device, repeatable
from engine.inference.features import FeatureExtractor
from engine.inference.memory import hand_back_for_runtime
from engine.inference.study_cache import cached_features, features_key, keep_features, prepare_cached
from engine.models.backbones.network import Backbone
from engine.models.backbones.registry import BackboneRegistry, build_backbone
from engine.models.calibration import sigmoid
from engine.models.package import LoadedPackage, load_package, require_known_findings
from engine.preprocess.spec import PreparedVolume
from engine.progress import NULL_CONTEXT, Context


@dataclass(frozen=True, eq=False)
class Acquisition:
    """What the result must say about the series that was read.

    Attributes
    ----------
    geometry
        Where the acquired slices are.
    sop_instance_uids
        One per acquired slice.
    study_instance_uid, series_instance_uid
        Of the series.
    read_s, prepare_s
        Seconds that reading and preparing took.
    warnings
        What reading has to say to the reader of the result.
    """

    geometry: VolumeGeometry
    sop_instance_uids: tuple[str, ...]
    study_instance_uid: str
    series_instance_uid: str
    read_s: float
    prepare_s: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class HeadResult:
    """The classifier's output for one study, on the CPU, ledger checked."""

    logits_C: NDArray[np.float32]
    attention_S: NDArray[np.float32]
    gates_SK: NDArray[np.float32]
    ledger_CSK: NDArray[np.float32]
    bias_C: NDArray[np.float32]
    counterfactual: Counterfactual
    pooled_D: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Latest:
    """What the latest analysis computed, so that explaining it need not compute it again."""

    source: tuple[str, tuple[str, ...]]
    prepared: PreparedVolume
    features_SD: NDArray[np.float32]


class Predictor:
    """One model package on its backbone; use it from one thread at a time.

    Parameters
    ----------
    package
        The verified package.
    backbone
        The network that the package names; a package with LoRA adapters changes it in place, so it must be a fresh one.
    device
        Where to compute.
    catalogue
        All findings.
    cache
        Where prepared volumes and slice features are kept between runs; None keeps none.
    how
        Precision of the backbone, and its runtime on a CPU.

    Raises
    ------
    PackageError
        If the package predicts a key that the catalogue does not have, or is made for another backbone.
    """

    def __init__(
        self,
        package: LoadedPackage,
        backbone: Backbone,
        device: torch.device,
        catalogue: Catalogue,
        cache: ArrayCache | None = None,
        how: Computing = AUTOMATIC,
    ) -> None:
        _require_fit(package, backbone, catalogue)
        _adapt(backbone, package)
        self.package = package
        self._catalogue = catalogue
        self._extractor = FeatureExtractor(backbone, device, how)
        self._cache = cache
        self._warnings: tuple[str, ...] = ()
        self._weights = _weights_identity(package)
        self._latest: _Latest | None = None

    @classmethod
    def open(
        cls,
        package_path: Path,
        catalogue: Catalogue,
        device: str = "auto",
        registry: BackboneRegistry | None = None,
        cache: ArrayCache | None = None,
        how: Computing = AUTOMATIC,
    ) -> Self:
        """Load a package and its backbone.

        Raises
        ------
        PackageError
            If the package is refused, or the backbone's weights are missing.
        InferenceError
            If the device is not there. A precision that it does not have is refused with the first study.
        """
        chosen = choose_device(device)
        hand_back_for_runtime(chosen, how)
        package = load_package(package_path, registry)
        reference = package.manifest.backbone
        backbone = build_backbone(reference.name, registry, reference.weights_digest)
        return cls(package, backbone, chosen, catalogue, cache, how)

    @property
    def identity(self) -> ModelIdentity:
        """Name, digest and notice of the model."""
        manifest = self.package.manifest
        return ModelIdentity(manifest.name, manifest.digest, manifest.notice)

    @property
    def device(self) -> torch.device:
        """Where it computes now."""
        return self._extractor.device

    def features(self, prepared: PreparedVolume, context: Context = NULL_CONTEXT) -> NDArray[np.float32]:
        """Return the backbone's feature of every prepared slice, (S, D); see `FeatureExtractor.features`.

        From the cache where there is one: the same network on the same voxels has been asked before.
        """
        if self._cache is None:
            return self._extractor.features(prepared, context)
        key = self._features_key(prepared)
        found = None if key is None else cached_features(self._cache, key)
        if found is not None:
            return found
        features_SD = self._extractor.features(prepared, context)
        # Named again: too little memory may have changed the batch or the device on the way.
        key = self._features_key(prepared)
        try:
            if key is not None:
                keep_features(self._cache, key, features_SD)
        except CacheError as error:
            self._cache = None
            self._warnings = (error.message,)
        return features_SD

    def subject(self, volume: Volume, series_instance_uid: str, context: Context = NULL_CONTEXT) -> Subject:
        """Return a study as explanations want it; the latest one is remembered, any other is computed again.

        Raises
        ------
        GeometryError, InferenceError, Cancelled
            As `analyse` does.
        """
        latest = self._latest
        if latest is None or latest.source != (series_instance_uid, volume.sop_instance_uids):
            prepared = prepare_cached(volume, self.package.manifest.preprocessing, self._cache, context)
            features_SD = self.features(prepared, context)
            latest = self._latest = _Latest((series_instance_uid, volume.sop_instance_uids), prepared, features_SD)
        keys = self.package.manifest.finding_keys
        # In bfloat16 the features that were shown are not those that the explanation finds inside the network.
        exact = self._extractor.exact()
        features_SD = latest.features_SD if exact is self._extractor else exact.features(latest.prepared, context)
        return Subject(self.package.classifier, self._extractor.backbone, keys, features_SD, latest.prepared)

    def _features_key(self, prepared: PreparedVolume) -> str | None:
        """Name all that the bytes of the features depend on; None where that cannot be told."""
        numerics = self._extractor.numerics(prepared)
        return None if numerics is None else features_key(prepared, {**self._weights, **numerics})

    def analyse(
        self,
        volume: Volume,
        *,
        study_instance_uid: str,
        series_instance_uid: str,
        read_s: float,
        warnings: Sequence[str] = (),
        context: Context = NULL_CONTEXT,
    ) -> Analysis:
        """Prepare a volume as the package asks and classify it.

        Raises
        ------
        GeometryError
            If the volume has no place in space.
        InferenceError
            If the backbone's or the classifier's numbers may not be shown.
        Cancelled
            If the context says so.
        """
        started = time.perf_counter()
        prepared = prepare_cached(volume, self.package.manifest.preprocessing, self._cache, context)
        prepare_s = time.perf_counter() - started
        acquisition = Acquisition(
            geometry=volume.require_geometry(),
            sop_instance_uids=volume.sop_instance_uids,
            study_instance_uid=study_instance_uid,
            series_instance_uid=series_instance_uid,
            read_s=read_s,
            prepare_s=prepare_s,
            warnings=(*warnings, *prepared.warnings),
        )
        return self.predict(prepared, acquisition, context)

    def predict(self, prepared: PreparedVolume, acquisition: Acquisition, context: Context = NULL_CONTEXT) -> Analysis:
        """Classify a prepared study.

        Raises
        ------
        InferenceError
            If a number is not finite, or the ledger does not add up to the logits; then nothing is returned.
        Cancelled
            If the context says so.
        """
        started = time.perf_counter()
        features_SD = self.features(prepared, context)
        backbone_done = time.perf_counter()
        source = (acquisition.series_instance_uid, acquisition.sop_instance_uids)
        self._latest = _Latest(source, prepared, features_SD)
        head = self._classify(features_SD)
        head_s = time.perf_counter() - backbone_done
        backbone_s = backbone_done - started
        measured = (acquisition.read_s, acquisition.prepare_s, backbone_s, head_s)
        return Analysis(
            study_instance_uid=acquisition.study_instance_uid,
            series_instance_uid=acquisition.series_instance_uid,
            geometry=_geometry_summary(acquisition.geometry),
            model=self.identity,
            device=self._extractor.computed_on,
            findings=self._findings(head),
            slices=self._slices(prepared, acquisition.sop_instance_uids, head),
            ledger=Ledger(self.package.manifest.finding_keys, head.ledger_CSK, head.bias_C, head.logits_C),
            acquired_weights=self._acquired_weights(prepared),
            warnings=(*acquisition.warnings, *self._extractor.warnings, *self._warnings),
            timings_s=Timings(*measured, total=sum(measured)),
            unit="volume" if self._is_volume else "slice",
            counterfactual=head.counterfactual,
            pooled_feature=head.pooled_D,
            prepared_grid=_prepared_grid(prepared),
            calibration={
                key: self.package.calibration.root[key].line
                for key in self.package.manifest.finding_keys
                if key in self.package.calibration.root
            },
        )

    @property
    def _is_volume(self) -> bool:
        return self._extractor.backbone.spec.dimensions == 3

    def _acquired_weights(self, prepared: PreparedVolume) -> NDArray[np.float32]:
        """Return the share of each acquired slice in each slice of the result; a volume counts as one of them."""
        if not self._is_volume:
            return prepared.acquired_weights
        shares_1A = prepared.acquired_weights.sum(axis=0, keepdims=True)
        return np.asarray(shares_1A / max(float(shares_1A.sum()), np.finfo(np.float32).tiny), dtype=np.float32)

    def _slices(self, prepared: PreparedVolume, acquired: tuple[str, ...], head: HeadResult) -> tuple[SliceResult, ...]:
        if self._is_volume:
            seen = np.flatnonzero(prepared.acquired_weights.sum(axis=0))
            middle_mm = float(np.mean(prepared.position_mm))
            return (_slice_result(0, middle_mm, tuple(acquired[index] for index in seen), head),)
        return tuple(
            _slice_result(index, float(position_mm), tuple(acquired[n] for n in prepared.acquired_under(index)), head)
            for index, position_mm in enumerate(prepared.position_mm)
        )

    def _classify(self, features_SD: NDArray[np.float32]) -> HeadResult:
        """Run the classifier and its ledger; both are small, and run on the CPU whatever the backbone's device is."""
        classifier = self.package.classifier
        with torch.inference_mode(), repeatable():
            features_BSD = torch.from_numpy(features_SD).unsqueeze(0)
            output = classifier(features_BSD)
            if not torch.isfinite(output.logits_BC).all():
                raise _not_finite()
            ledger_BCSK, bias_C = compute_ledger(classifier, features_BSD, output)
            check_ledger(ledger_BCSK, bias_C, output.logits_BC)
            without = compute_counterfactual(classifier, features_BSD, output)
        return HeadResult(
            logits_C=output.logits_BC[0].numpy(),
            attention_S=output.attention_BS[0].numpy(),
            gates_SK=output.gates_BSK[0].numpy(),
            ledger_CSK=ledger_BCSK[0].numpy(),
            bias_C=bias_C.numpy().copy(),
            counterfactual=Counterfactual(without.without_slice_BCS[0].numpy(), without.without_expert_BCK[0].numpy()),
            pooled_D=output.pooled_BD[0].numpy(),
        )

    def _findings(self, head: HeadResult) -> tuple[FindingResult, ...]:
        rows = {key: float(head.logits_C[row]) for row, key in enumerate(self.package.manifest.finding_keys)}
        return tuple(self._finding(finding, rows.get(finding.key)) for finding in self._catalogue.values())

    def _finding(self, finding: Finding, logit: float | None) -> FindingResult:
        words = (finding.key, finding.label, finding.category)
        if logit is None:
            return FindingResult(*words, False, None, None, None, None, None)
        probability = sigmoid(logit)
        calibrated = self.package.calibration.probability(finding.key, logit)
        operating_point = self.package.manifest.operating_points[finding.key]
        positive = (probability if calibrated is None else calibrated) >= operating_point
        return FindingResult(*words, True, logit, probability, calibrated, operating_point, positive)


def _slice_result(index: int, position_mm: float, sop_instance_uids: tuple[str, ...], head: HeadResult) -> SliceResult:
    return SliceResult(
        index=index,
        position_mm=position_mm,
        sop_instance_uids=sop_instance_uids,
        attention=float(head.attention_S[index]),
        gate_weights=tuple(float(gate) for gate in head.gates_SK[index]),
    )


def _prepared_grid(prepared: PreparedVolume) -> PreparedGrid:
    slices, rows, columns = prepared.voxels_hu.shape
    affine = prepared.lps_from_prepared_kji.tolist()
    return PreparedGrid(tuple((row[0], row[1], row[2], row[3]) for row in affine), (slices, rows, columns))


def _geometry_summary(geometry: VolumeGeometry) -> GeometrySummary:
    return GeometrySummary(
        acquired_slices=geometry.n_slices,
        tilt_deg=geometry.tilt_deg,
        normal_spacing_mm=tuple(float(value) for value in geometry.normal_spacing_mm),
        rows=geometry.rows,
        columns=geometry.columns,
    )


def _weights_identity(package: LoadedPackage) -> dict[str, Any]:
    """Name the weights that make the features: the backbone's and its adapters'."""
    manifest = package.manifest
    adapter = [[name, array_digest(package.adapter[name].numpy())] for name in sorted(package.adapter)]
    lora = None if manifest.lora is None else manifest.lora.model_dump(mode="json")
    return {"backbone": manifest.backbone.model_dump(mode="json"), "lora": lora, "adapter": adapter}


def _adapt(backbone: Backbone, package: LoadedPackage) -> None:
    """Give the backbone the package's LoRA adapters, if it has any."""
    if package.manifest.lora is None:
        return
    # peft takes seconds to import, and most packages have no adapters.
    from engine.models.lora import apply_lora, load_adapter_state

    apply_lora(backbone, package.manifest.lora.settings)
    load_adapter_state(backbone, package.adapter)


def _require_fit(package: LoadedPackage, backbone: Backbone, catalogue: Catalogue) -> None:
    manifest = package.manifest
    if backbone.spec.name != manifest.backbone.name:
        raise PackageError(
            f"The model {manifest.name} stands on {manifest.backbone.name}, not on {backbone.spec.name}.",
            hint="Load it with the backbone that it names.",
            code="package.other_backbone",
        )
    require_known_findings(package.path, manifest, catalogue)


def _not_finite() -> InferenceError:
    return InferenceError(
        "The classifier gave logits that are not finite; no result is shown.",
        hint="Run the study again on the CPU; if the message comes again, choose another model.",
        code="inference.not_finite",
        kind="environment",
    )
