"""Methods on the whole model: against runs of the study anew, formulas written out, and sums that must hold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import InferenceError
from engine.explain.maps import METHODS, SliceMapRequest
from engine.explain.methods.registry import registry
from engine.explain.patches import PatchedSlice, patch_px
from engine.explain.plain_head import PLAIN_BRAIN_HU, plain_head
from engine.explain.slice_maps import explain_slice
from engine.explain.spread import slice_share, spread
from engine.explain.subject import SliceLogit, Subject
from engine.models.lora import apply_lora
from engine.models.settings import LoraSettings
from engine.preprocess.windows import to_channels, to_volume
from engine.progress import Cancelled
from tests.support.explain import KEYS, Kind, backbone, classifier, prepared, subject

SLICE = 2
KINDS: tuple[Kind, ...] = ("mean", "token", "volume")


def study_logit(study: Subject, voxels_hu: np.ndarray, key: str) -> float:
    """The study's logit from its voxels: everything is computed anew."""
    x = torch.from_numpy(to_channels(voxels_hu, study.prepared.spec.windows_hu))
    if study.is_volume:
        x = torch.from_numpy(to_volume(voxels_hu, study.prepared.spec)).unsqueeze(0)
    with torch.no_grad():
        output = study.classifier(study.backbone(x).unsqueeze(0))
    return float(output.logits_BC[0, KEYS.index(key)])


def changed(study: Subject, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
    """The study's voxels with a part of the slice as plain brain."""
    voxels_hu = study.prepared.voxels_hu.copy()
    voxels_hu[SLICE, rows, columns] = plain_head(voxels_hu[SLICE])[rows, columns]
    return voxels_hu


def with_adapters() -> Subject:
    """A backbone whose LoRA adapters matter."""
    network = backbone("mean")
    apply_lora(network, LoraSettings(rank=2))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in network.network.named_parameters():
            if ".lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return subject("mean", network=network)


SUBJECTS = {
    **{kind: subject(kind) for kind in KINDS},
    "adapters": with_adapters(),
    "one slice": subject("mean", study=replace(prepared(), voxels_hu=prepared().voxels_hu[SLICE : SLICE + 1])),
    "fusion": subject("mean", classifier(fusion_hidden=7)),
}


@pytest.mark.parametrize("study", [SUBJECTS[name] for name in (*KINDS, "adapters", "fusion")])
def test_the_logit_of_a_slice_is_that_of_the_whole_model(study: Subject) -> None:
    logit = SliceLogit(study, KEYS[1], SLICE)
    tried = torch.cat([study.picture(SLICE), study.plain_picture(SLICE)])
    with torch.no_grad():
        found = logit(tried).tolist()
    expected = [study_logit(study, study.prepared.voxels_hu, KEYS[1]), study_logit(study, changed(study), KEYS[1])]
    assert found == pytest.approx(expected, abs=1e-4)
    assert abs(found[0] - found[1]) > 1e-3


def test_adapters_are_part_of_it() -> None:
    with torch.no_grad():
        plain, adapted = (
            float(SliceLogit(study, KEYS[1], SLICE)(study.picture(SLICE)))
            for study in (SUBJECTS["mean"], SUBJECTS["adapters"])
        )
    assert abs(plain - adapted) > 1e-3


@pytest.mark.parametrize("study", SUBJECTS.values(), ids=SUBJECTS)
def test_integrated_gradients_sum_to_the_difference_in_logit(study: Subject) -> None:
    index = 0 if len(study.prepared.voxels_hu) == 1 else SLICE
    drawn = explain_slice(study, SliceMapRequest(KEYS[0], index, "integrated_gradients", faithfulness=False))
    logit = SliceLogit(study, KEYS[0], index)
    with torch.no_grad():
        difference = float(logit(study.picture(index)) - logit(study.plain_picture(index)))
    assert abs(difference) > 1e-3
    assert float(drawn.values.sum()) + drawn.residual == pytest.approx(difference, abs=1e-5)
    assert abs(drawn.residual) < 0.03 * abs(difference) + 1e-4
    assert not drawn.exact
    assert drawn.values.shape == (32, 32)


@pytest.mark.parametrize("study", [SUBJECTS[kind] for kind in KINDS], ids=KINDS)
def test_occlusion_is_the_drop_that_a_second_run_shows(study: Subject) -> None:
    drawn = explain_slice(study, SliceMapRequest(KEYS[2], SLICE, "occlusion", faithfulness=False))
    side = patch_px((32, 32))
    assert side == 2
    rows, columns = slice(14, 16), slice(20, 22)
    before = study_logit(study, study.prepared.voxels_hu, KEYS[2])
    drop = before - study_logit(study, changed(study, rows, columns), KEYS[2])
    assert abs(drop) > 1e-5
    assert drawn.values[rows, columns] == pytest.approx(np.full((2, 2), drop), abs=2e-6)
    assert np.all(drawn.values[:, 0] == 0), "outside the head nothing is replaced"


@pytest.mark.parametrize(("kind", "layer"), [("mean", "norm"), ("token", "block"), ("volume", "conv")])
def test_grad_cam_is_its_formula_with_tokens_as_a_grid(kind: Kind, layer: str) -> None:
    study = SUBJECTS[kind]
    drawn = explain_slice(study, SliceMapRequest(KEYS[0], SLICE, "gradcam", faithfulness=False))
    kept: list[torch.Tensor] = []
    handle = study.backbone.network.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: kept.append(output)
    )
    x = study.network_input(SLICE).requires_grad_()
    feature_D = study.backbone(x)
    handle.remove()
    (gradient,) = torch.autograd.grad(SliceLogit(study, KEYS[0], SLICE).of_features(feature_D).sum(), kept[0])
    act = kept[0][0].detach()
    if kind == "token":
        act, gradient = act[2:].T.reshape(12, 4, 4), gradient[:, 2:].mT.reshape(1, 12, 4, 4)
    weights = gradient[0].flatten(1).mean(dim=1)
    cam = torch.einsum("d,d...->...", weights, act).double().numpy()
    assert cam.min() < 0 < cam.max(), "the sign is kept"
    if kind == "volume":
        cam = slice_share(cam, SLICE, len(study.prepared.voxels_hu))
    assert np.allclose(drawn.values, spread(cam, (32, 32)), atol=1e-7)
    assert drawn.values.std() > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_is_measured_beside_a_random_map(method: str, kind: Kind) -> None:
    study = SUBJECTS[kind]
    found = explain_slice(study, SliceMapRequest(KEYS[0], SLICE, method)).faithfulness
    assert found is not None
    assert (found.ledger is None) == (kind == "token")
    logit = SliceLogit(study, KEYS[0], SLICE)
    whole, plain = float(logit(study.picture(SLICE))), float(logit(study.plain_picture(SLICE)))
    for score in (found.own, found.ledger, found.random):
        if score is None:
            continue
        assert score.deletion.shape == found.fractions.shape == (11,)
        assert score.deletion[[0, -1]].tolist() == pytest.approx([whole, plain], abs=1e-5)
        assert 0 <= score.infidelity <= found.unexplained * (1 + 1e-4)


def test_a_map_of_the_truth_is_told_from_a_random_one() -> None:
    """With a linear backbone, one slice and no mixture the logit is linear: integrated gradients are the truth."""
    one = prepared()
    study = subject("linear", classifier(None), replace(one, voxels_hu=one.voxels_hu[SLICE : SLICE + 1]))
    found = explain_slice(study, SliceMapRequest(KEYS[0], 0, "integrated_gradients")).faithfulness
    assert found.own.infidelity < 1e-4 * found.unexplained
    assert found.random.infidelity > 0.3 * found.unexplained
    steps = np.diff(found.own.deletion)
    assert np.all(np.diff(steps) > -1e-5), "the largest drops come first"
    assert found.own.area < found.random.area


def test_removed_patches_are_plain_brain_and_the_others_untouched() -> None:
    study = SUBJECTS["mean"]
    patched = PatchedSlice(SliceLogit(study, KEYS[1], SLICE))
    assert 20 < patched.n_patches < 128, "air and brain that is plain already have nothing to remove"
    marked = np.zeros((32, 32), dtype=np.float32)
    marked[14:16, 20:22] = 1.0
    there_NP = torch.ones(1, patched.n_patches)
    there_NP[0, int(np.argmax(patched.sums(marked)))] = 0
    expected = study_logit(study, changed(study, slice(14, 16), slice(20, 22)), KEYS[1])
    assert float(patched(there_NP)) == pytest.approx(expected, abs=1e-5)


def test_a_slice_of_air_has_nothing_to_measure() -> None:
    study = prepared()
    air = np.full_like(study.voxels_hu, -1024.0)
    found = explain_slice(subject("mean", study=replace(study, voxels_hu=air)), SliceMapRequest(KEYS[0], 0, "ledger"))
    assert found.faithfulness is None
    assert np.isfinite(found.values).all()


def test_plain_brain_fills_bone_gas_and_bleeds_and_nothing_outside() -> None:
    voxels_hu = np.full((20, 20), -1000.0, dtype=np.float32)
    voxels_hu[4:16, 4:16] = 1000.0
    voxels_hu[6:14, 6:14] = 30.0
    voxels_hu[7, 7], voxels_hu[9, 9] = 75.0, -1000.0
    plain = plain_head(voxels_hu)
    assert np.all(plain[4:16, 4:16] == PLAIN_BRAIN_HU)
    plain[4:16, 4:16] = -1000.0
    assert np.all(plain == -1000.0)


class Watched:
    """Counts reports, and cancels after some of them."""

    def __init__(self, limit: int | None = None) -> None:
        self.reports: list[tuple[int, int, str]] = []
        self.limit = limit

    def progress(self, done: int, total: int, text: str) -> None:
        self.reports.append((done, total, text))

    def raise_if_cancelled(self) -> None:
        if self.limit is not None and len(self.reports) >= self.limit:
            raise Cancelled


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_long_methods_tell_how_far_they_are_and_stop_when_asked(method: str) -> None:
    study, request = SUBJECTS["mean"], SliceMapRequest(KEYS[0], SLICE, method)
    watched = Watched()
    explain_slice(study, request, watched)
    for text in {report[2] for report in watched.reports}:
        done = [report[0] for report in watched.reports if report[2] == text]
        totals = {report[1] for report in watched.reports if report[2] == text}
        assert done == sorted(done)
        assert len(done) > 3
        assert len(totals) == 1
        assert done[-1] <= totals.pop()
    stopped = Watched(3)
    with pytest.raises(Cancelled):
        explain_slice(study, request, stopped)
    assert len(stopped.reports) == 3


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (SliceMapRequest("unheard_of", 0, "ledger"), "explain.finding"),
        (SliceMapRequest(KEYS[0], 99, "ledger"), "explain.slice"),
        (SliceMapRequest(KEYS[0], -1, "ledger"), "explain.slice"),
        (SliceMapRequest(KEYS[0], 0, "tea_leaves"), "explain.method"),
        (SliceMapRequest(KEYS[0], 0, "ledger", 4), "explain.expert"),
    ],
)
def test_what_is_not_there_cannot_be_explained(request_: SliceMapRequest, code: str) -> None:
    with pytest.raises(InferenceError) as caught:
        explain_slice(SUBJECTS["mean"], request_)
    assert caught.value.code == code


def test_one_file_a_method_and_the_list_the_window_shows_agree() -> None:
    assert list(registry()) == list(METHODS)
    assert all(info.label and info.meaning.endswith(".") for info in METHODS.values())


def test_the_values_that_the_window_reads_are_free_of_torch() -> None:
    code = "import engine.explain.maps, sys; print(sorted({'torch', 'captum', 'scipy'} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_channel_with_the_volumes_own_range_keeps_it_when_a_slice_is_plain() -> None:
    """The slice holds the volume's highest value: the others' pictures must not change with it."""
    study = prepared()
    voxels_hu = study.voxels_hu.copy()
    voxels_hu[SLICE, 15, 15] = 1500.0
    spec = study.spec.model_copy(update={"windows_hu": study.spec.windows_hu[:2], "min_max": True})
    whole = subject("volume", study=replace(study, voxels_hu=voxels_hu, spec=spec))
    lowest = float(voxels_hu.min())
    plain = whole.plain_picture(SLICE)[0, 2].numpy()
    assert plain[15, 15] == pytest.approx((PLAIN_BRAIN_HU - lowest) / (1500.0 - lowest), rel=1e-4)
    assert torch.equal(whole.picture(SLICE), whole.network_input(SLICE)[:, :, SLICE])
