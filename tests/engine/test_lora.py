from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import PackageError
from engine.models.backbones.network import Backbone
from engine.models.lora import apply_lora
from engine.models.settings import LoraSettings
from tests.support.models import TINY_SPEC, tiny_entry


@pytest.mark.parametrize("targets", [("conv", "attention.qkv"), ()])
def test_a_target_that_matches_nothing_is_an_error(targets: tuple[str, ...]) -> None:
    backbone = Backbone(replace(tiny_entry(), spec=replace(TINY_SPEC, lora_targets=targets)))
    with pytest.raises(PackageError) as caught:
        apply_lora(backbone, LoraSettings())
    assert caught.value.code == "lora.target"
    assert "conv," not in caught.value.message


def test_parts_of_a_name_do_not_match() -> None:
    """``onv`` ends the name ``conv``, yet is no component of it."""
    backbone = Backbone(replace(tiny_entry(), spec=replace(TINY_SPEC, lora_targets=("onv",))))
    with pytest.raises(PackageError, match="onv"):
        apply_lora(backbone, LoraSettings())


def test_the_papers_defaults() -> None:
    assert LoraSettings() == LoraSettings(rank=8, alpha=16)
    backbone = Backbone(tiny_entry())
    apply_lora(backbone, LoraSettings())
    conv = backbone.network.conv
    assert conv.scaling["default"] == 2.0
    assert conv.lora_A["default"].weight.shape[0] == 8
