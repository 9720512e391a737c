"""One synthetic head CT study: drawn, planned, painted and acquired from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError
from engine.geometry import Volume
from engine.phantom.acquisition import add_noise, add_streaks, average_planes, blur, harden, move, sharpen, threshold
from engine.phantom.anatomy import Anatomy
from engine.phantom.background import head_rest, lay_on_rest, vary
from engine.phantom.head import Head, Layer, draw_head, stream
from engine.phantom.lattice import F32, Real
from engine.phantom.painters.registry import Painter, painters
from engine.phantom.scanner import scan
from engine.phantom.shapes import Point
from engine.phantom.spec import PhantomSpec
from engine.phantom.tissue import AIR_HU, Slab
from engine.progress import NULL_CONTEXT, Context

F64 = NDArray[np.float64]

SLAB_VOXELS = 500_000
PAINTED_KEYS: tuple[str, ...] = tuple(painters())


@dataclass(frozen=True, eq=False)
class PhantomStudy:
    """A study and the truth about it.

    Attributes
    ----------
    volume
        Hounsfield units, int16 [slice, row, column].
    masks
        Key of every positive finding to its mask, bool [slice, row, column].
    labels
        Every key of `PAINTED_KEYS` to 1 (present, painted or implied) or 0.
    seed, spec
        What it was made from; a varied scanner's specification is the one drawn.
    """

    volume: Volume
    masks: dict[str, NDArray[np.bool_]]
    labels: dict[str, int]
    seed: int
    spec: PhantomSpec


def generate(
    seed: int,
    spec: PhantomSpec = PhantomSpec(),
    findings: Collection[str] | None = None,
    context: Context = NULL_CONTEXT,
) -> PhantomStudy:
    """Make one study; the same seed and specification give the same voxels.

    Parameters
    ----------
    seed
        Non-negative.
    findings
        The findings to paint, in addition to what they imply (a large bleed implies midline shift); None draws them.

    Raises
    ------
    ConfigError
        If a finding has no painter, or the seed is negative.
    Cancelled
        If the context asks to stop.
    """
    spec = scan(seed, spec)
    head = plan_head(seed, spec, findings)
    hu, masks = _acquire(head, spec, context)
    voxels = add_noise(hu, head.noise_hu, stream(seed, "noise"), spec)
    uids = tuple(uid(seed, spec, f"slice{index}") for index in range(spec.n_slices))
    present = {key: mask for key, mask in masks.items() if mask.any()}
    return PhantomStudy(
        volume=Volume(voxels, spec.geometry(), "HU", float(spec.padding_hu) if spec.circle else None, uids),
        masks={key: present[key] for key in PAINTED_KEYS if key in present},
        labels={key: int(key in present) for key in PAINTED_KEYS},
        seed=seed,
        spec=spec,
    )


def uid(seed: int, spec: PhantomSpec, part: str) -> str:
    """Return the DICOM UID of a part of a study, under 2.25, from the seed and the specification alone."""
    digest = hashlib.sha256(f"head-ct-phantom|{seed}|{spec.identity()}|{part}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def draw_findings(seed: int, normal_fraction: float, age: float = 0.5) -> tuple[str, ...]:
    """Draw the findings of a study: none in `normal_fraction` of the studies, else each by its own prevalence.

    `age` is 0 for the youngest head and 1 for the oldest; some findings are more frequent at one end.
    """
    if stream(seed, "findings").random() < normal_fraction:
        return ()
    # Every finding has a stream of its own: another painter changes nobody else's studies.
    return tuple(
        key
        for key, painter in painters().items()
        if stream(seed, f"drawn:{key}").random()
        < painter.prevalence / (1 - normal_fraction) * (1 + painter.older * (2 * age - 1))
    )


def plan_head(seed: int, spec: PhantomSpec, findings: Collection[str] | None) -> Head:
    """Draw the head of a study and everything that will be painted into it, without making a voxel.

    Raises
    ------
    ConfigError
        If a finding has no painter, or the seed is negative.
    """
    if seed < 0:
        raise _config_error(f"the seed {seed} is negative")
    unknown = sorted(set(findings or ()) - set(PAINTED_KEYS))
    if unknown:
        raise _config_error(f"no painter for {', '.join(unknown)}")
    head = draw_head(seed, spec.noise_hu)
    varied = spec.anatomy == "varied"
    if varied:
        vary(head)
    drawn = draw_findings(seed, spec.normal_fraction, head.age if varied else 0.5) if findings is None else findings
    chosen = set(drawn)
    for key, painter in sorted(painters().items(), key=_planning_order):
        if key in chosen:
            painter.plan(head, stream(seed, key))
    for key, painter in painters().items():
        if painter.implied is not None and not head.has(key):
            paint = painter.implied(head)
            if paint is not None:
                head.add(key, paint, order=99, solid=False)
    head.layers.sort(key=lambda layer: layer.order)
    return head


def _planning_order(item: tuple[str, Painter]) -> tuple[int, str]:
    return item[1].planned, item[0]


def _acquire(head: Head, spec: PhantomSpec, context: Context) -> tuple[F32, dict[str, NDArray[np.bool_]]]:
    """Make the slices without noise, and the masks."""
    anatomy = Anatomy(head, spec.geometry(), spec.slice_spacing_mm)
    window = _window(anatomy, spec)
    v_mm, u_mm = (np.arange(side.start, side.stop) * spec.pixel_spacing_mm for side in window)
    anatomy.refine(anatomy.taps(1, v_mm), anatomy.taps(2, u_mm))
    shape = (spec.n_slices, spec.matrix, spec.matrix)
    hu = np.full(shape, AIR_HU, dtype=np.float32)
    covered = {layer.key: np.zeros(shape, dtype=np.uint8) for layer in head.layers}
    for part in _slabs(spec, window):
        context.raise_if_cancelled()
        slab = _slab(anatomy, spec, part, v_mm, u_mm)
        where = (part, *window)
        for key, mask in _paint(slab, head.layers).items():
            covered[key][where] = np.rint(average_planes(mask, spec.samples_per_slice) * 255).astype(np.uint8)
        harden(slab, spec.beam_hardening)
        hu[where] = average_planes(slab.hu, spec.samples_per_slice)
        context.progress(part.stop, spec.n_slices, "phantom slices")
    hu = sharpen(blur(hu, spec), spec)
    move(hu, spec, stream(head.seed, "motion"))
    add_streaks(hu, _metals_kji(head, anatomy, spec), spec, head.seed)
    if head.rest_hu is not None:
        rest = head_rest(shape[1:], window, spec.pixel_spacing_mm)
        for plane in hu:
            lay_on_rest(plane, rest, head.rest_hu)
    return hu, {key: threshold(values) for key, values in covered.items()}


def _metals_kji(head: Head, anatomy: Anatomy, spec: PhantomSpec) -> list[tuple[Point, float]]:
    found: list[tuple[Point, float]] = []
    for metal in head.metals:
        w, v, u = anatomy.frame.to_scan_mm(metal.centre)
        place = (w / spec.slice_spacing_mm, v / spec.pixel_spacing_mm, u / spec.pixel_spacing_mm)
        found.append((place, metal.strength_hu))
    return found


def _paint(slab: Slab, layers: list[Layer]) -> dict[str, Real]:
    """Paint the layers in order; a solid one takes its voxels away from the solid ones before it."""
    masks: dict[str, Real] = {}
    solid: set[str] = set()
    for layer in layers:
        weight = layer.paint(slab)
        if layer.solid and weight.any():
            for key in solid:
                masks[key] = masks[key] * (1 - weight)
        masks[layer.key] = weight
        if layer.solid:
            solid.add(layer.key)
    return masks


def _window(anatomy: Anatomy, spec: PhantomSpec) -> tuple[slice, slice]:
    """Return the rows and columns that hold the head."""
    bounds = []
    for low, high in anatomy.extent_mm():
        first = max(int(np.floor(low / spec.pixel_spacing_mm)), 0)
        bounds.append(slice(first, min(int(np.ceil(high / spec.pixel_spacing_mm)) + 1, spec.matrix)))
    return bounds[0], bounds[1]


def _slabs(spec: PhantomSpec, window: tuple[slice, slice]) -> Iterator[slice]:
    """Yield the slices of every slab, few enough for the caches."""
    area = (window[0].stop - window[0].start) * (window[1].stop - window[1].start)
    step = max(1, SLAB_VOXELS // max(area * spec.samples_per_slice, 1))
    for first in range(0, spec.n_slices, step):
        yield slice(first, min(first + step, spec.n_slices))


def _slab(anatomy: Anatomy, spec: PhantomSpec, part: slice, v_mm: F64, u_mm: F64) -> Slab:
    n = spec.samples_per_slice
    planes = (np.arange(part.start * n, part.stop * n) + 0.5) / n - 0.5
    w_mm = planes * spec.slice_spacing_mm
    points = anatomy.frame.points(w_mm.astype(np.float32), v_mm.astype(np.float32), u_mm.astype(np.float32))
    return Slab(anatomy, anatomy.taps(0, w_mm), points)


def _config_error(reason: str) -> ConfigError:
    return ConfigError(
        f"The phantom cannot be made: {reason}.",
        hint="Use a seed of 0 or more and findings that the phantom paints.",
        code="phantom.request",
    )
