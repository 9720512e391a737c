"""Features from the backbone: of slices, batch by batch, or of a whole volume.

Legend: S slice, D feature width, N slices of a batch, M channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InferenceError
from engine.inference.compute import EXACT, Computing, Precision
from engine.inference.memory import (
    batch_limit,
    batch_that_fits,
    free_bytes,
    hand_back_free_memory,
    hand_back_large_blocks,
    peak_bytes,
)
from engine.inference.openvino_runtime import Graph, GraphUnavailable, open_graph
from engine.inference.precision import choose_precision, computing, test_picture
from engine.models.backbones.network import Backbone
from engine.preprocess.spec import AIR_HU, PreprocessSpec
from engine.preprocess.windows import to_channels, to_volume
from engine.progress import NULL_CONTEXT, Context


class PreparedVoxels(Protocol):
    """What is read of a prepared study; a `PreparedVolume` is one."""

    @property
    def voxels_hu(self) -> NDArray[np.float32]:
        """``[S, H, W]`` in HU."""

    @property
    def spec(self) -> PreprocessSpec:
        """What it was prepared with."""


@dataclass
class _Plan:
    """How pictures of one shape are computed.

    `air_D` is the feature of a slice of nothing but air, once one was met.
    """

    precision: Precision
    graph: Graph | None
    batch: int
    air_D: NDArray[np.float32] | None = None


class FeatureExtractor:
    """Runs a backbone over prepared studies; needs no model package, so that training can start from it.

    Parameters
    ----------
    backbone
        The network; it moves to the device.
    device
        Where to compute.
    how
        Precision and runtime; torch in float32 unless it says otherwise.

    Attributes
    ----------
    device
        Where it runs now; becomes the CPU when the GPU's memory does not hold even one slice.
    warnings
        What the reader should know about that, and about a runtime that could not be used.
    """

    def __init__(self, backbone: Backbone, device: torch.device, how: Computing = EXACT) -> None:
        self.backbone = backbone.to(device)
        self.device = device
        self.how = how
        self.warnings: tuple[str, ...] = ()
        self._plans: dict[tuple[int, ...], _Plan] = {}
        self._plans_for: object = None
        self._last: _Plan | None = None

    @property
    def computed_on(self) -> str:
        """Device and precision of the last study, and the runtime where it was not torch; before one, the device."""
        if self._last is None:
            return self.device.type
        runtime = "" if self._last.graph is None else " openvino"
        return f"{self.device.type} {self._last.precision}{runtime}"

    def numerics(self, prepared: PreparedVoxels) -> dict[str, str | int] | None:
        """Name what decides the last bits of a study's features besides voxels and weights; cached ones go by it.

        None while the memory does not hold the test picture: nothing can be said then.
        """
        try:
            plan = self._last = self._plan(_picture_shape(prepared, self.backbone.spec.dimensions))
        except torch.OutOfMemoryError:
            return None
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        runtime = "torch" if plan.graph is None else plan.graph.version
        return {"device": name, "precision": plan.precision, "runtime": runtime, "batch": plan.batch}

    def exact(self) -> FeatureExtractor:
        """Return one whose features are float32: itself where the last study's were, else the same backbone in torch.

        Explanations look inside the network in float32, and their sums must be those of the features.
        """
        if self._last is None or self._last.precision == "float32":
            return self
        return FeatureExtractor(self.backbone, self.device, EXACT)

    def features(self, prepared: PreparedVoxels, context: Context = NULL_CONTEXT) -> NDArray[np.float32]:
        """Return the pooled feature of every prepared slice, or for a network of volumes that of the volume.

        Slices of nothing but air are not computed each: they all have the feature that a batch of them gives, to the
        bit, in the same precision on the same device.

        Parameters
        ----------
        prepared
            The study; its spec gives the windows that become channels.
        context
            Told after every batch; asked before every batch whether to stop.

        Returns
        -------
        NDArray[np.float32]
            (S, D); (1, D) for a volume.

        Raises
        ------
        InferenceError
            If a feature is not finite, or the memory of the device does not hold one slice.
        Cancelled
            If the context says so.
        """
        features_SD = self._features_or_less_memory(prepared, context)
        if not np.isfinite(features_SD).all():
            raise InferenceError(
                f"The backbone {self.backbone.spec.display_name} gave features that are not finite; nothing is shown.",
                hint="Run the study on the CPU in float32; if that fails too, install the backbone's weights again.",
                code="inference.not_finite",
                kind="environment",
            )
        return features_SD

    def _features_or_less_memory(self, prepared: PreparedVoxels, context: Context) -> NDArray[np.float32]:
        while True:
            plan = None
            try:
                plan = self._last = self._plan(_picture_shape(prepared, self.backbone.spec.dimensions))
                # From the first slice on, so that all slices of a study see the same batch size.
                return self._computed(plan, prepared, context)
            except torch.OutOfMemoryError as error:
                self._need_less_memory(plan, error)
            except RuntimeError as error:
                # Torch has no error of its own for memory that a CPU, or Apple's GPU, does not have. Anything else
                # happens with a single slice too, and is reported as what it is.
                if plan is None or self.device.type == "cuda" or (self.device.type == "cpu" and plan.batch == 1):
                    raise
                self._need_less_memory(plan, error)

    def _computed(self, plan: _Plan, prepared: PreparedVoxels, context: Context) -> NDArray[np.float32]:
        if self.backbone.spec.dimensions == 2:
            return self._all_slices(plan, prepared, context)
        context.raise_if_cancelled()
        features_ND = self._run(plan, to_volume(prepared.voxels_hu, prepared.spec)[None])
        context.progress(1, 1, "Reading the volume with the backbone")
        return features_ND

    def _all_slices(self, plan: _Plan, prepared: PreparedVoxels, context: Context) -> NDArray[np.float32]:
        air_S = only_air(prepared.voxels_hu, prepared.spec)
        features_SD = np.empty((len(air_S), self.backbone.spec.feature_width), dtype=np.float32)
        done = int(air_S.sum())
        if done:
            features_SD[air_S] = self._air(plan, prepared.spec)
        seen = np.flatnonzero(~air_S)
        for start in range(0, len(seen), plan.batch):
            context.raise_if_cancelled()
            chosen = seen[start : start + plan.batch]
            features_SD[chosen] = self._run(plan, to_channels(prepared.voxels_hu[chosen], prepared.spec.windows_hu))
            done += len(chosen)
            context.progress(done, len(air_S), "Reading slices with the backbone")
        return features_SD

    def _air(self, plan: _Plan, spec: PreprocessSpec) -> NDArray[np.float32]:
        """Return the feature of a slice of air, (D,).

        From a whole batch of them: in a batch of another size, a library may sum in another order, and its last bits
        would not be those of the slices beside it.
        """
        if plan.air_D is None:
            air_hu = np.full((plan.batch, *spec.size_px), AIR_HU, dtype=np.float32)
            plan.air_D = self._run(plan, to_channels(air_hu, spec.windows_hu))[0].copy()
        return plan.air_D

    def _run(self, plan: _Plan, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        if plan.graph is not None:
            return plan.graph(pictures)
        features_ND = self._through_torch(torch.from_numpy(pictures), plan.precision)
        return np.asarray(features_ND.numpy(), dtype=np.float32)

    def _through_torch(self, pictures: Tensor, precision: Precision) -> Tensor:
        with computing(self.device, precision):
            features_ND: Tensor = self.backbone(pictures.to(self.device))
            return features_ND.float().cpu()

    def _plan(self, shape: tuple[int, ...]) -> _Plan:
        """Return how pictures of this shape are computed; found once for a shape, and anew when the network changed."""
        state = _state_of(self.backbone)
        if state != self._plans_for:
            self._plans, self._plans_for = {}, state
        if shape not in self._plans:
            self._plans[shape] = self._new_plan(shape)
        return self._plans[shape]

    def _new_plan(self, shape: tuple[int, ...]) -> _Plan:
        try:
            return self._measured_plan(shape)
        except RuntimeError as error:
            # Apple's GPUs lack operators that some networks need; torch has no error of its own for that.
            if self.device.type != "mps" or isinstance(error, torch.OutOfMemoryError):
                raise
            self._go_to_the_cpu(f"The GPU cannot run {self.backbone.spec.display_name}")
            return self._measured_plan(shape)

    def _measured_plan(self, shape: tuple[int, ...]) -> _Plan:
        """Run the test picture: its feature decides on precision and runtime, its memory on the batch."""
        bytes_of: dict[Precision, int] = {}
        picture = test_picture(shape)

        @lru_cache(maxsize=2)
        def tried(precision: Precision) -> Tensor:
            found: list[Tensor] = []
            bytes_of[precision] = peak_bytes(lambda: found.append(self._through_torch(picture, precision)), self.device)
            return found[0]

        choice = self.how.precision
        if choice == "auto" and self.device.type == "cpu" and self.backbone.spec.dimensions == 3:
            # Both runs of a whole volume would cost more than bfloat16 saves on a study.
            choice = "float32"
        precision = choose_precision(choice, self.device, tried)
        if self.backbone.spec.dimensions == 3:
            return _Plan(precision, None, 1)
        exact_ND = tried(precision)
        batch = batch_that_fits(bytes_of[precision], free_bytes(self.device), batch_limit(self.device))
        plan = _Plan(precision, self._graph(precision, picture, exact_ND), batch)
        if self.device.type == "cpu":
            # Where weights outweigh the activations, arithmetic outweighs what new pages cost.
            if plan.graph is not None or _bytes_of(self.backbone) > batch * bytes_of[precision]:
                hand_back_large_blocks()
            hand_back_free_memory()
        return plan

    def _graph(self, precision: Precision, picture: Tensor, exact_ND: Tensor) -> Graph | None:
        """Return the converted graph where one is to be used; where it cannot be, say so and use torch."""
        if self.device.type != "cpu" or precision != "float32" or self.how.cpu_runtime == "torch":
            return None
        try:
            return open_graph(self.backbone, picture, exact_ND, self.how.runtime_folder)
        except GraphUnavailable as reason:
            # Nobody asked for it by name where it is not installed.
            if self.how.cpu_runtime == "openvino" or reason.installed:
                self._warn(f"OpenVINO is not used, torch computes instead: {reason}.")
            return None

    def _need_less_memory(self, plan: _Plan | None, error: RuntimeError) -> None:
        """Halve the batch; at one slice move from the GPU to the CPU; on the CPU give up."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if plan is not None and plan.batch > 1:
            plan.batch //= 2
            plan.air_D = None
            self._warn(f"Memory ran short: the study was computed {plan.batch} slices at a time.")
            return
        if self.device.type == "cpu":
            raise InferenceError(
                "There is not enough memory to run the backbone on a single slice.",
                hint="Close other programs and run the study again.",
                code="inference.memory",
                kind="environment",
            ) from error
        whole = "one slice" if self.backbone.spec.dimensions == 2 else "the volume"
        self._go_to_the_cpu(f"The GPU's memory did not hold {whole}")

    def _go_to_the_cpu(self, reason: str) -> None:
        self.device = torch.device("cpu")
        self.backbone.to(self.device)
        self._plans = {}
        self.warnings = ()
        self._warn(f"{reason}; the study was computed on the CPU.")

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings = (*self.warnings, text)


def only_air(voxels_hu: NDArray[np.float32], spec: PreprocessSpec) -> NDArray[np.bool_]:
    """Return which slices ``[S, H, W]`` show nothing but air in every window: the noise below them all is no matter."""
    floor_hu = np.float32(min(lower for lower, _ in spec.windows_hu))
    level_hu = max(np.float32(AIR_HU), floor_hu)
    lowest, highest = voxels_hu.min(axis=(1, 2)), voxels_hu.max(axis=(1, 2))
    same: NDArray[np.bool_] = (np.maximum(lowest, floor_hu) == level_hu) & (np.maximum(highest, floor_hu) == level_hu)
    return same


def _picture_shape(prepared: PreparedVoxels, dimensions: int) -> tuple[int, ...]:
    """Return (M, H, W), or (M, S, H, W) for a network of volumes."""
    size = prepared.voxels_hu.shape
    return (prepared.spec.n_channels, *(size if dimensions == 3 else size[1:]))


def _bytes_of(backbone: Backbone) -> int:
    return sum(tensor.nbytes for tensor in (*backbone.parameters(), *backbone.buffers()))


def _state_of(backbone: Backbone) -> tuple[tuple[int, int], ...]:
    """Return what changes whenever a tensor of the network is replaced, added, or written to, as adapters are."""
    return tuple(
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
        for tensor in (*backbone.parameters(), *backbone.buffers())
    )
