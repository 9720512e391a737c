"""The hostile corpus: each file is read right or refused by name and reason; never a crash, a hang, a huge array."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from engine.dicom.read import read_series
from engine.dicom.scan import scan

READ = ""

# File to the code of the refusal, or READ and the warning that must stand beside it (empty: none).
OUTCOMES: dict[str, tuple[str, str]] = {
    "BASELINE_valid_ct": (READ, ""),
    "TC0285_buf_half": ("dicom.truncated", ""),
    "TC0287_buf_2x": (READ, "dicom.pixels.excess"),
    "TC0289_buf_10x": (READ, "dicom.pixels.excess"),
    "TC0291_buf_zero": ("dicom.truncated", ""),
    "TC0293_buf_one_byte": ("dicom.truncated", ""),
    "TC0295_rows_zero": ("dicom.pixels.empty", ""),
    "TC0297_cols_zero": ("dicom.pixels.empty", ""),
    "TC0299_bits_bsstored_gt_ba": ("dicom.bits.stored", ""),
    "TC0301_bits_highbit_eq_ba": ("dicom.bits.high_bit", ""),
    "TC0303_bits_highbit_gt_ba": ("dicom.bits.high_bit", ""),
    "TC0305_bits_ba_zero": ("dicom.bits.allocated", ""),
    "TC0307_bits_ba_one": ("dicom.bits.allocated", ""),
    "TC0309_bits_ba_three": ("dicom.bits.allocated", ""),
    "TC0311_bits_ba_nine": ("dicom.bits.allocated", ""),
    "TC0313_bits_ba_24": ("dicom.bits.allocated", ""),
    "TC0315_bits_ba_48": ("dicom.bits.allocated", ""),
    "TC0317_bits_ba_128": ("dicom.bits.allocated", ""),
    "TC0319_bits_bs_zero": ("dicom.bits.stored", ""),
    "TC0321_encap_empty_bot": ("dicom.pixels.codestream", ""),
    "TC0323_encap_zero_frag": (READ, "dicom.pixels.second"),
    "TC0325_encap_10k_frags": ("dicom.pixels.codestream", ""),
    "TC0327_mono2_spp3": ("dicom.pixels.colour", ""),
    "TC0329_rgb_spp1": ("dicom.photometric.unsupported", ""),
    "TC0331_pi_invalid": ("dicom.photometric.unsupported", ""),
    "TC0333_pi_empty": (READ, "dicom.photometric.missing"),
    "TC0335_pi_256chars": ("dicom.photometric.unsupported", ""),
    "TC0337_mf_nf_zero": (READ, "dicom.frames.invalid"),
    "TC0339_mf_nf_million": ("dicom.truncated", ""),
    "TC0341_mf_nf1_buf100": (READ, "dicom.pixels.excess"),
    "TC0343_declares_explicit_data_implicit": (READ, ""),
    "TC0345_deflate_corrupt": ("dicom.truncated", ""),
    "TC0347_deflate_truncated": ("dicom.truncated", ""),
    "TC0377_no_preamble": (READ, "dicom.preamble.missing"),
    "TC0379_preamble_ff": (READ, ""),
    "TC0381_preamble_127": ("dicom.not_dicom", ""),
    "TC0383_no_dicm": ("dicom.not_dicom", ""),
    "TC0385_dicm_offset0": ("dicom.not_dicom", ""),
    "TC0387_dicm_offset64": ("dicom.not_dicom", ""),
    "TC0389_dicm_offset256": ("dicom.not_dicom", ""),
    "TC0391_meta_glen_zero": ("dicom.file_meta.damaged", ""),
    "TC0393_meta_glen_one": ("dicom.file_meta.damaged", ""),
    "TC0395_meta_glen_max": ("dicom.file_meta.damaged", ""),
    "TC0397_meta_glen_huge": ("dicom.file_meta.damaged", ""),
    "TC0399_sop_class_mismatch": (READ, "dicom.sop_class.mismatch"),
    "TC0401_invalid_ts": ("dicom.transfer_syntax.unknown", ""),
    "TC0403_meta_tag_in_dataset": ("dicom.empty", ""),
}
MOST_MEMORY_BYTES = 8 << 20


@pytest.fixture(scope="module")
def corpus(shared_data: Path) -> dict[str, Path]:
    return {path.stem: path for path in (shared_data / "malformed").rglob("*.dcm")}


def test_the_table_names_every_file_of_the_corpus(corpus: dict[str, Path]) -> None:
    assert sorted(corpus) == sorted(OUTCOMES)
    assert len(OUTCOMES) == 47


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_file_is_read_right_or_refused_with_its_reason(name: str, corpus: dict[str, Path]) -> None:
    refusal, warning = OUTCOMES[name]
    tracemalloc.start()
    try:
        report = scan([corpus[name]])
        volumes = [read_series(series) for series in report.series]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY_BYTES
    assert report.n_files == 1
    if refusal:
        assert not report.series
        (skipped,) = report.skipped
        assert (skipped.path, skipped.code) == (str(corpus[name]), refusal)
        assert len(skipped.reason) > 20
        return
    assert not report.skipped
    (volume,), (series,) = volumes, report.series
    (baseline,) = scan([corpus["BASELINE_valid_ct"]]).series
    np.testing.assert_array_equal(volume.voxels, read_series(baseline).voxels)
    assert volume.voxels.shape == (1, 64, 64)
    assert volume.units == "unknown"
    assert series.kind == "stack"
    assert not series.analysable
    codes = {reason.code for reason in series.warnings}
    assert codes == ({warning} if warning else set())


def test_whole_corpus_in_one_scan_accounts_for_every_file(shared_data: Path) -> None:
    report = scan([shared_data / "malformed"])
    assert report.n_files == 48
    refused = sum(1 for refusal, _ in OUTCOMES.values() if refusal)
    assert len(report.skipped) == refused + 1  # the licence's text
    (series,) = report.series
    assert read_series(series).voxels.shape[1:] == (64, 64)
    assert f"{refused + 1} skipped" in report.closing_text()
