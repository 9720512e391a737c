"""The anatomy of a planned head on a coarse grid: signed distances to every surface, in millimetres.

The grid's axes are those of the acquisition (table, column, row direction), so that a field can be brought to the
voxels one axis after the other; its nodes are mapped to head space, so that the anatomy does not depend on the scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.geometry import VolumeGeometry
from engine.phantom.head import Head, stream
from engine.phantom.lattice import F32, FineField, NoiseCube, Real, Taps
from engine.phantom.shapes import Point, ellipsoid, sigmoid, tube

GRID_MM = 3.0
INNER_MM = (67.0, 84.0, 70.0)
INNER_CENTRE_Y_MM = 2.0
BASE_DEPTH_MM = 95.0
FACE_DEPTH_MM = 210.0
POWER = 2.25
FACE_TOP_MM = 6.0


@dataclass(frozen=True)
class Frame:
    """The affine map from acquisition coordinates (table, down a column, along a row; millimetres) to head space."""

    head_from_scan: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, head: Head, geometry: VolumeGeometry) -> Frame:
        """Build the map for a head in a scan; table positions are measured from the first slice."""
        axes = np.stack([np.array([0.0, 0.0, 1.0]), geometry.column_cosine_lps, geometry.row_cosine_lps], axis=1)
        to_head = (head.rotation.T) / head.scale[:, None]
        # The head's middle lies 3 mm above its origin between the thalami: that much of it is above the table's centre.
        origin_lps = head.translation_mm + np.array([0.0, 0.0, -3.0])
        return cls(to_head @ axes, to_head @ (geometry.origins_lps_mm[0] - origin_lps))

    def to_scan_mm(self, point: Point) -> Point:
        """Return the acquisition coordinates (table, down a column, along a row) of a point of head space."""
        w, v, u = np.linalg.solve(self.head_from_scan, np.asarray(point, dtype=np.float64) - self.offset)
        return float(w), float(v), float(u)

    def points(self, w_mm: F32, v_mm: F32, u_mm: F32) -> tuple[F32, F32, F32]:
        """Return x, y, z in head space on the grid of the three axes, each of shape (W, V, U)."""
        w, v, u = w_mm[:, None, None], v_mm[None, :, None], u_mm[None, None, :]
        x, y, z = (
            np.asarray(
                (w * np.float32(row[0]) + np.float32(shift)) + v * np.float32(row[1]) + u * np.float32(row[2]),
                dtype=np.float32,
            )
            for row, shift in zip(self.head_from_scan, self.offset, strict=True)
        )
        return x, y, z


class Anatomy:
    """The coarse fields of a head and their interpolation.

    Attributes
    ----------
    fields
        Name to distance (negative inside unless said otherwise) or random field, float32 [w, v, u] on the grid.
    """

    def __init__(self, head: Head, geometry: VolumeGeometry, thickness_mm: float) -> None:
        self.head = head
        self.frame = Frame.of(head, geometry)
        length_mm = (geometry.n_slices - 1) * thickness_mm
        width_mm = (geometry.columns - 1) * geometry.pixel_spacing_mm[1]
        self._start_mm = -thickness_mm / 2
        self._n_nodes = (_n_nodes(length_mm + thickness_mm), _n_nodes(width_mm), _n_nodes(width_mm))
        w, v, u = (np.arange(n, dtype=np.float32) * np.float32(GRID_MM) for n in self._n_nodes)
        self._points = self.frame.points(w + np.float32(self._start_mm), v, u)
        self.fields: dict[str, F32] = {}
        self._fine: dict[str, FineField] = {}
        self._build()

    def taps(self, axis: int, positions_mm: NDArray[np.float64]) -> Taps:
        """Return the taps of positions along one axis (0 table, 1 column, 2 row direction)."""
        start = self._start_mm if axis == 0 else 0.0
        return Taps.at((positions_mm - start) / GRID_MM, self._n_nodes[axis])

    def refine(self, y: Taps, x: Taps) -> None:
        """Set the rows and columns of the voxels that `fine` is asked for."""
        self._fine = {name: FineField(field, y, x) for name, field in self.fields.items()}

    def fine(self, name: str, z: Taps) -> F32:
        """Return the field `name` at the planes of `z`; see `FineField`."""
        return self._fine[name].at(z)

    def extent_mm(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the first and last position of the head along columns and along rows, with a margin."""
        inside = self.fields["skin"] < 6.0
        if not inside.any():
            return (0.0, 0.0), (0.0, 0.0)
        spans = []
        for axis in (1, 2):
            used = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
            spans.append(((used[0] - 1) * GRID_MM, (used[-1] + 1) * GRID_MM))
        return spans[0], spans[1]

    def _build(self) -> None:
        x, y, z = self._points
        cubes = {name: NoiseCube(stream(self.head.seed, f"cube:{name}"), 2.6) for name in ("sulci", "rough")}
        self._noise(cubes["rough"], x, y, z)
        moved = self._displaced(x, y, z)
        self._skull(x, y, z)
        self._face(x, y, z)
        self._sulci(cubes["sulci"], *moved)
        self._ventricles(*moved)
        self._deep(*moved)
        self._cisterns(*moved)
        self._posterior(x, y, z)

    def _noise(self, cube: NoiseCube, x: F32, y: F32, z: F32) -> None:
        self.fields["rough"] = cube.sample(x, y, z)
        third = np.float32(0.36)
        self.fields["cloud"] = cube.sample(x * third + 60, y * third + 40, z * third + 50)

    def _displaced(self, x: F32, y: F32, z: F32) -> tuple[F32, F32, F32]:
        """Return where the brain at each point comes from, once the masses have displaced it."""
        shift = np.zeros_like(x)
        for push in self.head.pushes:
            shift += push.displacement_mm(x, y, z)
        self.fields["shift"] = shift
        x, y, z = x - shift, y.copy(), z.copy()
        for bulge in self.head.bulges:
            cx, cy, cz = bulge.centre
            dx, dy, dz = self._points[0] - cx, self._points[1] - cy, self._points[2] - cz
            away = np.sqrt(dx * dx + dy * dy + dz * dz) + np.float32(1e-3)
            amount = bulge.amount_mm * np.exp(-0.5 * (np.maximum(away - bulge.radius_mm, 0) / 9.0) ** 2) / away
            x -= dx * amount
            y -= dy * amount
            z -= dz * amount
        return x, y, z

    def _skull(self, x: F32, y: F32, z: F32) -> None:
        """Inner table, floor of the skull and skin. `cavity` grows inwards: it is a depth."""
        head = self.head
        self.fields["table"] = _shell(head, x, y, z, 0.0, BASE_DEPTH_MM)
        self.fields["skin"] = _skin(head, x, y, z)
        floor, petrous = _floor_mm(x, y)
        self.fields["floor"] = (z - floor) * np.float32(0.85)
        self.fields["petrous"] = petrous

    def _face(self, x: F32, y: F32, z: F32) -> None:
        """Orbits, sinuses, mastoid cells and cord, all below `FACE_TOP_MM`."""
        ax = np.abs(x)
        self.fields["globe"] = ellipsoid(ax, y, z, (31, -71, -27), (12.5, 12.5, 12.5))
        self.fields["orbit"] = tube(ax, y, z, [((31, -82, -28), 15.5), ((28, -62, -26), 15), ((14, -36, -24), 5)])
        rough = self.fields["rough"]
        nasal = ellipsoid(x, y, z, (0, -62, -40), (11, 28, 16)) + np.maximum(rough * 4 - 2, -2)
        sphenoid = ellipsoid(ax, y, z, (5, -27, -35), (9, 9, 7))
        frontal = ellipsoid(ax, y, z, (8, -86, -10), (9, 2.6, 7)) + 0.7 * rough
        self.fields["sinus"] = np.minimum(np.minimum(nasal, sphenoid), frontal)
        self.fields["sphenoid"], self.fields["frontal"] = sphenoid, frontal
        self.fields["maxillary"] = ellipsoid(ax, y, z, (27, -62, -59), (14, 17, 15))
        self.fields["mastoid"] = ellipsoid(ax, y, z, (54, 20, -40), (11, 14, 17))
        self.fields["canal"] = tube(ax, y, z, [((50, 6, -40), 3.0), ((82, 8, -42), 4.0)])

    def _sulci(self, cube: NoiseCube, x: F32, y: F32, z: F32) -> None:
        """Distance to the sheets of the sulci, and the half width that their water has."""
        head = self.head
        # Sulci run inwards from the surface: the random field varies along the surface and little along the radius.
        radius = np.sqrt(x * x + y * y + z * z) + np.float32(1.0)
        pull = (np.float32(64.0) / radius) ** np.float32(0.72)
        wave = cube.sample(x * pull, y * pull, z * pull) + 0.12 * self.fields["cloud"]
        steps = np.gradient(wave, GRID_MM)
        slope = np.sqrt(sum((step * step for step in steps), start=np.zeros_like(wave)))
        self.fields["sulcus"] = wave
        self.fields["sulcus_slope"] = np.maximum(slope, np.float32(0.06))
        reach = 17 + 4.5 * self.fields["cloud"]
        opening = np.clip(1.15 - self.fields["table"] / reach, 0, 1) * (1 + 0.45 * self.fields["rough"])
        self.fields["sulcus_free"] = (opening * np.float32(head.sulcus_mm)).astype(np.float32)
        for effacement in head.effacements:
            cx, cy, cz = effacement.centre
            away = ((self._points[0] - cx) ** 2 + (self._points[1] - cy) ** 2 + (self._points[2] - cz) ** 2) / (
                effacement.reach_mm**2
            )
            opening *= 1 - effacement.amount * np.exp(-0.7 * away)
        self.fields["gyral_reach"] = np.asarray(reach + 7, dtype=np.float32)
        self.fields["sulcus_width"] = (opening * np.float32(head.sulcus_mm)).astype(np.float32)

    def _ventricles(self, x: F32, y: F32, z: F32) -> None:
        head = self.head
        side = np.tanh(x / 4)
        growth = (head.ventricle * (1 + head.ventricle_asymmetry * side)).astype(np.float32)
        x = np.asarray(x - head.skew_mm * np.exp(-((x / 15) ** 2)), dtype=np.float32)
        ax = np.sqrt(x * x + 1)
        lateral = self._lateral(ax, y, z, growth)
        width = head.third_ventricle_mm * max(head.ventricle, 0.8)
        third = ellipsoid(x, y, z, (0, 2, -2), (width, 13, 10))
        size = head.ventricle**0.5 * head.fourth
        fourth = ellipsoid(x, y, z, (0, 25, -34), (6.5 * size, 4.5 * size, 9 * head.fourth))
        self.fields["lateral"] = lateral
        self.fields["third"] = third
        self.fields["fourth"] = fourth

    @staticmethod
    def _lateral(ax: F32, y: F32, z: F32, growth: F32) -> F32:
        body = [((7.5, -33, 9), 2.9), ((6.5, -18, 13), 4.6), ((9, 4, 21), 4.6), ((17, 24, 17), 5.6), ((25, 36, 8), 6.2)]
        horns = [((25, 36, 8), 6.2), ((27, 58, 4), 2.4)]
        temporal = [((25, 36, 8), 5.5), ((33, 18, -11), 2.6), ((29, -6, -19), 2.2)]
        tubes = [tube(ax, y, z, nodes) for nodes in (body, horns, temporal)]
        # A wider ventricle grows in proportion to the radius of the horn: body and atrium more than the temporal horn.
        radii = (4.9, 4.3, 2.6)
        grown = [gap - (growth - 1) * np.float32(radius) for gap, radius in zip(tubes, radii, strict=True)]
        return np.asarray(np.minimum(np.minimum(grown[0], grown[1]), grown[2]), dtype=np.float32)

    def _deep(self, x: F32, y: F32, z: F32) -> None:
        """Caudate, lentiform nucleus and thalamus."""
        ax = np.abs(x)
        wide = np.float32(1.6 * (self.head.ventricle - 1))
        caudate = ellipsoid(ax - wide, y, z, (14.5, -24, 11), (4.5, 10, 9))
        lentiform = ellipsoid(ax - 0.28 * (y + 2), y, z, (25, -3, 4), (7.5, 15, 11))
        thalamus = ellipsoid(ax, y, z, (10.5, 12, 5), (8, 13, 9))
        self.fields["lentiform"] = lentiform
        self.fields["thalamus"] = thalamus
        self.fields["deep"] = np.minimum(np.minimum(caudate, lentiform), thalamus)

    def _cisterns(self, x: F32, y: F32, z: F32) -> None:
        """Basal cisterns and Sylvian fissures."""
        head = self.head
        ax = np.sqrt(x * x + 1)
        swell = np.float32(0.6 * (head.gap_mm - 1.5))
        suprasellar = ellipsoid(x, y, z, (0, -13, -21), (12, 10, 5.5))
        stem = tube(ax, y, z, [((8, -12, -20), 2.2), ((36, -14, -13), 1.6)])
        half = 0.5 + 0.35 * head.sulcus_mm
        wander = 1.2 * self.fields["cloud"] + 0.8 * self.fields["rough"]
        insula = _sheet(ax - 41 + 0.007 * (y - 2) ** 2 + wander, np.hypot(y / 20, (z - 4) / 15), half)
        lateral = np.where(ax < 39, 9, 0)
        slit = _sheet(z + 7 - 0.42 * (y + 24) + wander, np.maximum(np.abs(y) / 27, lateral), half)
        quadrigeminal = ellipsoid(x, y, z, (0, 26, -2), (9, 4.5, 7))
        magna = ellipsoid(x, y, z, (0, 52, -60), (11, 8, 7))
        around = np.hypot(x / 1.12, y - 8)
        ambient = np.abs(around - 15.5 - 0.8 * self.fields["rough"]) - 0.9
        ambient += 0.7 * np.maximum(12 - y, 0) + 1.5 * np.maximum(np.abs(z + 11) - 8, 0)
        parts = (suprasellar, stem, insula, slit, quadrigeminal, magna, ambient)
        free = np.asarray(np.minimum.reduce(parts) - swell, dtype=np.float32)
        self.fields["cistern_free"] = self.fields["cistern"] = free
        if head.cistern_loss_mm > 0:
            basal = np.exp(-((x / 26) ** 2) - ((y - 6) / 34) ** 2 - ((z + 13) / 15) ** 2)
            self.fields["cistern"] = np.asarray(free + head.cistern_loss_mm * basal, dtype=np.float32)
        self.fields["sylvian"] = np.asarray(np.minimum(np.minimum(insula, slit), stem), dtype=np.float32)

    def _posterior(self, x: F32, y: F32, z: F32) -> None:
        """Tentorium (height above it) and brainstem."""
        ax = np.sqrt(x * x + 9)
        roof = 4 - 0.42 * ax - 0.27 * np.maximum(y - 22, 0)
        self.fields["tentorium"] = np.asarray(z - roof, dtype=np.float32)
        self.fields["behind"] = np.asarray(y - (_petrous_line_mm(ax) - 2), dtype=np.float32)
        stem = [((0, 7, -2), 12.0), ((0, 6, -14), 13.0), ((0, 6, -28), 14.5), ((0, 14, -46), 9.0), ((0, 22, -90), 6.5)]
        self.fields["stem"] = tube(x / 1.1, y, z, stem)


def _n_nodes(length_mm: float) -> int:
    return int(np.ceil(length_mm / GRID_MM)) + 2


def _sheet(distance: Real, reach: Real, half_mm: float) -> F32:
    """Return the distance to a thin sheet that ends where `reach` passes 1."""
    return np.asarray(np.abs(distance) - half_mm + 25 * np.maximum(reach - 1, 0), dtype=np.float32)


def _shell(head: Head, x: F32, y: F32, z: F32, grow_mm: float, below_mm: float) -> F32:
    """Return the depth below a shell like the inner table, grown outwards by `grow_mm`: positive inside.

    A superellipsoid r = (|x/a|^p + |y/b|^p + |z/c|^p)^(1/p); the distance is (1 - r) / |grad r|.
    """
    y = y - np.float32(INNER_CENTRE_Y_MM)
    half_x, half_y, top = (np.float32(size + grow_mm) for size in INNER_MM)
    a = half_x * (1 + np.float32(head.taper) * np.tanh(y / 40))
    a = np.asarray(a + np.float32(0.35 * head.skew_mm) * np.tanh(x / 20), dtype=np.float32)
    c = np.where(z > 0, top, np.float32(below_mm + grow_mm)).astype(np.float32)
    ratios = [np.abs(x) / a, np.abs(y) / half_y, np.abs(z) / c]
    total = np.maximum(ratios[0] ** POWER + ratios[1] ** POWER + ratios[2] ** POWER, np.float32(1e-6))
    r = total ** np.float32(1 / POWER)
    slopes = [ratio ** np.float32(POWER - 1) / size for ratio, size in zip(ratios, (a, half_y, c), strict=True)]
    gradient = r ** np.float32(1 - POWER) * np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2)
    return np.asarray((1 - r) / np.maximum(gradient, np.float32(1e-4)), dtype=np.float32)


def _skin(head: Head, x: F32, y: F32, z: F32) -> F32:
    """Return the distance to the skin, negative inside the head."""
    cap = -_shell(head, x, y, z, head.skull_mm + head.scalp_mm, FACE_DEPTH_MM)
    nose = ellipsoid(x, y, z, (0, -92, -46), (11, 20, 16))
    ears = ellipsoid(np.abs(x), y, z, (78, 12, -38), (6, 13, 20))
    return np.asarray(np.minimum(np.minimum(cap, nose), ears), dtype=np.float32)


def _petrous_line_mm(ax: F32) -> F32:
    """Return y of the petrous ridge, which runs outwards and backwards from the clivus."""
    return np.asarray(-7 + 0.55 * ax, dtype=np.float32)


def _floor_mm(x: F32, y: F32) -> tuple[F32, F32]:
    """Return the height of the skull's floor and how much of it is petrous bone (0..1)."""
    ax = np.abs(x)
    ridge_y = _petrous_line_mm(ax)
    anterior = -19 + 6 * np.exp(-(((ax - 30) / 14) ** 2)) + 0.05 * (y + 60)
    lateral = sigmoid((ax - 15) / 2.5)
    middle = -27 - 10 * lateral
    wing_y = -30 - 9 * lateral * np.clip((45 - ax) / 15, 0, 1)
    floor = anterior + (middle - anterior) * sigmoid((y - wing_y) / 2.0)
    floor = floor + (-63 - floor) * sigmoid((y - ridge_y) / (2.2 + 2.5 * (1 - lateral)))
    petrous = np.exp(-(((y - ridge_y) / 9) ** 2)) * lateral
    ridge = -26 - 1.1 * np.maximum(np.abs(y - ridge_y) - 3, 0) - 30 * (1 - lateral)
    opening = np.exp(-((np.hypot(x, y - 30) / 15) ** 4))
    floor = np.maximum(floor, ridge) - 40 * opening
    return floor.astype(np.float32), petrous.astype(np.float32)


def vault_point(head: Head, direction: Point, depth_mm: float) -> Point:
    """Return the point of head space that lies `depth_mm` below the inner table in a direction from the origin.

    A negative depth is outside: minus the skull's thickness is the outer table.
    """
    unit = np.asarray(direction, dtype=np.float32) / np.float32(np.linalg.norm(direction))
    along = np.arange(20, 130, 0.25, dtype=np.float32)
    x, y, z = (along * component for component in unit)
    depth = _shell(head, x, y, z, 0.0, BASE_DEPTH_MM)
    nearest = along[int(np.argmin(np.abs(depth - depth_mm)))]
    px, py, pz = (float(component * nearest) for component in unit)
    return px, py, pz
