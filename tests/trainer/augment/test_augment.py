"""Each transform against a case computed by hand or by another library, and all of them replayed from a seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage

from engine.preprocess.spec import AIR_HU, PreprocessSpec
from engine.preprocess.windows import to_channels, to_volume
from trainer.augment.brightness import brightened
from trainer.augment.elastic import elastic_field
from trainer.augment.mirror import mirrored
from trainer.augment.noise import noisy
from trainer.augment.parameters import AugmentParameters, draw_parameters
from trainer.augment.pipeline import augmented, moved
from trainer.augment.rotation import rotation
from trainer.augment.scaling import scaling
from trainer.augment.warp import warped
from trainer.augment.windows import channels_of
from trainer.config import AugmentConfig

SPACING = (4.0, 1.0, 1.0)
STILL = AugmentParameters(0.0, 10.0, 0, (0.0,) * 3, (1.0,) * 3, (False,) * 3, 1.0, 0.0, 0)


def _volume(shape: tuple[int, int, int] = (6, 20, 24), seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(40, 200, shape).astype(np.float32))


def test_draws_fill_the_papers_ranges_and_no_more() -> None:
    drawn = [draw_parameters(AugmentConfig(), 1, 1, place) for place in range(600)]
    for name, low, high in (
        ("elastic_alpha", 0, 200),
        ("elastic_sigma", 10, 13),
        ("rotation_rad", -0.1, 0.1),
        ("scale", 0.85, 1.15),
        ("brightness", 0.99, 1.01),
        ("noise_variance", 0, 0.03),
    ):
        values = np.array([getattr(item, name) for item in drawn]).reshape(600, -1)
        slack = (high - low) * 0.02
        assert (values >= low).all(), name
        assert (values <= high).all(), name
        assert (values.min(axis=0) < low + slack).all(), name
        assert (values.max(axis=0) > high - slack).all(), name
    mirrors = np.array([item.mirror for item in drawn])
    assert mirrors.mean(axis=0) == pytest.approx([0.5] * 3, abs=0.07)
    assert abs(np.corrcoef(mirrors.T)[0, 1]) < 0.12


def test_axes_are_scaled_and_turned_each_by_itself() -> None:
    drawn = draw_parameters(AugmentConfig(), 1, 1, 0)
    assert len(set(drawn.scale)) == 3
    assert len(set(drawn.rotation_rad)) == 3


def test_what_was_drawn_is_replayed_to_the_bit_and_another_place_is_another_volume() -> None:
    spec = PreprocessSpec(size_px=(20, 24))
    one, again, other = (draw_parameters(AugmentConfig(), 7, 2, place) for place in (5, 5, 6))
    assert one == again
    assert torch.equal(augmented(_volume(), spec, one), augmented(_volume(), spec, again))
    assert not torch.equal(augmented(_volume(), spec, one), augmented(_volume(), spec, other))
    assert one != draw_parameters(AugmentConfig(), 7, 3, 5)


def test_parameters_that_change_nothing_leave_what_the_network_reads_at_inference() -> None:
    spec = PreprocessSpec(size_px=(20, 24))
    volume = _volume()
    expected = to_channels(volume.numpy(), spec.windows_hu).swapaxes(0, 1)
    assert augmented(volume, spec, STILL).numpy() == pytest.approx(expected, abs=2e-5)


def test_windows_and_the_own_range_are_those_of_the_engine() -> None:
    spec = PreprocessSpec(min_max=True)
    volume = _volume() * 20
    assert float(volume.max()) > 3071
    assert channels_of(volume, spec).numpy() == pytest.approx(to_volume(volume.numpy(), spec), abs=1e-6)
    flat = torch.full((2, 3, 4), 7.0)
    assert torch.count_nonzero(channels_of(flat, spec)[-1]) == 0


def test_a_quarter_turn_about_the_slice_axis_takes_rows_to_columns() -> None:
    volume = torch.full((3, 9, 9), AIR_HU)
    volume[1, 4, 7] = 100.0  # three columns beside the centre
    turned = warped(volume, (4.0, 1.0, 1.0), rotation((np.pi / 2, 0.0, 0.0)))
    place = np.unravel_index(int(turned.argmax()), turned.shape)
    assert rotation((np.pi / 2, 0.0, 0.0)) @ np.array([0.0, 0.0, 3.0]) == pytest.approx([0.0, -3.0, 0.0])
    assert tuple(int(index) for index in place) == (1, 1, 4)
    assert float(turned.max()) == pytest.approx(100.0, abs=0.1)


def test_a_rotation_keeps_lengths_and_turns_about_each_axis() -> None:
    matrix = rotation((0.1, -0.07, 0.04))
    assert matrix @ matrix.T == pytest.approx(np.eye(3), abs=1e-12)
    for axis in range(3):
        angles = [0.0, 0.0, 0.0]
        angles[axis] = 0.1
        turn = rotation((angles[0], angles[1], angles[2]))
        assert turn[axis, axis] == pytest.approx(1.0)
        assert np.trace(turn) == pytest.approx(1 + 2 * np.cos(0.1))


def test_slices_turn_in_millimetres_not_in_voxels() -> None:
    """One slice up is four millimetres: a quarter turn about the column axis takes it four rows on."""
    volume = torch.full((5, 17, 5), AIR_HU)
    volume[3, 8, 2] = 100.0
    turned = warped(volume, SPACING, rotation((0.0, 0.0, np.pi / 2)))
    slices, rows, columns = np.unravel_index(int(turned.argmax()), turned.shape)
    assert (int(slices), abs(int(rows) - 8), int(columns)) == (2, 4, 2)


def test_scaling_stretches_about_the_centre_as_scipy_does() -> None:
    volume = torch.from_numpy(ndimage.gaussian_filter(_volume((9, 21, 25)).numpy(), 1.5))
    factors = (1.1, 0.9, 1.15)
    centre = (np.array(volume.shape) - 1) / 2
    inverse = 1 / np.array(factors)
    expected = ndimage.affine_transform(
        volume.numpy(), inverse, centre - inverse * centre, order=1, mode="constant", cval=AIR_HU
    )
    found = warped(volume, SPACING, scaling(factors)).numpy()
    assert found[1:-1, 2:-2, 2:-2] == pytest.approx(expected[1:-1, 2:-2, 2:-2], abs=0.05)


def test_what_comes_from_outside_is_air() -> None:
    shrunk = warped(torch.zeros(6, 20, 20), SPACING, scaling((0.5, 0.5, 0.5)))
    assert float(shrunk[0, 0, 0]) == AIR_HU
    assert float(shrunk[3, 10, 10]) == pytest.approx(0.0, abs=1e-3)


def test_a_field_moves_where_the_new_volume_reads() -> None:
    volume = torch.arange(10.0).expand(3, 4, 10).contiguous()
    field = torch.zeros(3, 3, 4, 10)
    field[2] = 2.0
    read = warped(volume, SPACING, np.eye(3), field)
    assert read[1, 1, :8].tolist() == pytest.approx(list(range(2, 10)), abs=1e-3)


def test_mirroring_is_exact_and_by_axis() -> None:
    volume = _volume()
    assert torch.equal(mirrored(volume, (False, False, True)), volume.flip(2))
    assert torch.equal(mirrored(volume, (True, True, False)), volume.flip(0).flip(1))
    assert torch.equal(mirrored(volume, (False, False, False)), volume)


def test_the_elastic_field_has_the_size_and_the_smoothness_of_the_definition() -> None:
    """Against the definition itself: noise on every voxel, scipy's Gaussian, times α."""
    alpha, sigma, shape = 150.0, 10.0, (24, 96, 96)
    fields = torch.stack([elastic_field(shape, (1.0, 1.0, 1.0), alpha, sigma, seed) for seed in range(16)]).numpy()
    random = np.random.default_rng(1)
    padded = tuple(n + 80 for n in shape)
    defined = []
    for _ in range(3):
        smooth = ndimage.gaussian_filter(random.uniform(-1, 1, padded), sigma, truncate=4.0)[40:-40, 40:-40, 40:-40]
        defined.append(alpha * smooth)
    theory = alpha / np.sqrt(3) / (2 * np.sqrt(np.pi) * sigma) ** 1.5
    assert np.std(fields) == pytest.approx(theory, rel=0.12)
    assert np.std(defined) == pytest.approx(theory, rel=0.25)
    # The covariance of two voxels a distance d apart falls as exp(−d² / 4σ²).
    shifted = np.mean(fields[..., 20:] * fields[..., :-20]) / np.mean(fields**2)
    assert shifted == pytest.approx(np.exp(-1.0), abs=0.15)


def test_thick_slices_are_displaced_as_far_as_their_neighbours_in_millimetres() -> None:
    thick = torch.stack([elastic_field((40, 64, 64), SPACING, 200.0, 11.0, seed) for seed in range(16)])
    along_slices = (thick[:, :, 1:] - thick[:, :, :-1]).std()
    along_rows = (thick[:, :, :, 4:] - thick[:, :, :, :-4]).std()
    assert float(along_slices) == pytest.approx(float(along_rows), rel=0.1)


def test_no_strength_is_no_field() -> None:
    assert torch.count_nonzero(elastic_field((4, 8, 8), SPACING, 0.0, 10.0, 3)) == 0


def test_brightness_multiplies_and_noise_has_its_variance() -> None:
    channels = torch.rand(3, 20, 40, 40)
    assert torch.equal(brightened(channels, 1.01), channels * 1.01)
    noise = noisy(channels, 0.02, 5) - channels
    assert float(noise.var()) == pytest.approx(0.02, rel=0.03)
    assert abs(float(noise.mean())) < 2e-3
    assert torch.equal(noisy(channels, 0.02, 5), noisy(channels, 0.02, 5))
    assert torch.equal(noisy(channels, 0.0, 5), channels)


def test_the_whole_moves_a_head_but_keeps_it_a_head() -> None:
    spec = PreprocessSpec(size_px=(64, 64), spacing_mm=(12.0, 3.2, 3.2))
    volume = torch.full((16, 64, 64), AIR_HU)
    volume[4:12, 16:48, 16:48] = 40.0
    for place in range(5):
        drawn = draw_parameters(AugmentConfig(), 3, 1, place)
        result = moved(volume, spec, drawn)
        volume_share = float((result > -500).float().mean() / (volume > -500).float().mean())
        assert volume_share == pytest.approx(float(np.prod(drawn.scale)), rel=0.15)


@pytest.mark.parametrize(
    "wrong", [{"scale": (1.2, 0.9)}, {"scale": (0.0, 1.0)}, {"noise_variance": (-0.1, 0.1)}, {"mirror": 1.5}]
)
def test_impossible_ranges_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        AugmentConfig(**wrong)  # type: ignore[arg-type]
