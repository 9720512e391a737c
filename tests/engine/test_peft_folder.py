"""Adapters cross over to PEFT and back. PEFT itself, on the plain published network, is the judge of both ways."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.errors import PackageError
from engine.models.adapter_exchange import export_adapter, import_adapter
from engine.models.backbones.registry import BackboneRegistry, build_backbone
from engine.models.calibration import Calibration
from engine.models.lora import adapter_state, apply_lora, load_adapter_state, lora_reference
from engine.models.package import LoadedPackage, load_package, write_package
from engine.models.settings import LoraSettings
from tests.support.models import draft, random_classifier, write_random_package
from tests.support.networks import small_registry

KEYS = ("midline_shift", "hydrocephalus", "subdural")
NETWORKS = ["medsiglip", "medimageinsight", "dinov3_base", "efficientnet_lite0"]
ON_PARTS = LoraSettings(rank=4, alpha=8)


@dataclass(frozen=True)
class Case:
    """A package with random adapters, what it needs, and pictures to compare features on."""

    registry: BackboneRegistry
    path: Path
    x_NMHW: Tensor

    @property
    def name(self) -> str:
        return next(iter(self.registry))

    def load(self, path: Path | None = None) -> LoadedPackage:
        return load_package(path or self.path, self.registry)

    def features(self, path: Path | None = None) -> Tensor:
        """What this program computes with a package's adapters."""
        package, backbone = self.load(path), build_backbone(self.name, self.registry)
        assert package.manifest.lora is not None
        apply_lora(backbone, package.manifest.lora.settings)
        load_adapter_state(backbone, package.adapter)
        with torch.inference_mode():
            return backbone(self.x_NMHW)

    def plain(self) -> nn.Module:
        """The published network, as PEFT sees it."""
        return build_backbone(self.name, self.registry).network

    def peft_features(self, model: nn.Module) -> Tensor:
        """What PEFT computes; the normalisation is ours."""
        backbone = build_backbone(self.name, self.registry)
        backbone.network = model.base_model.model if isinstance(model, PeftModel) else model
        with torch.inference_mode():
            return backbone.eval()(self.x_NMHW)


def make_case(tmp_path: Path, name: str, settings: LoraSettings = ON_PARTS) -> Case:
    registry = small_registry(name)
    entry = registry[name]
    backbone = build_backbone(name, registry)
    apply_lora(backbone, settings)
    generator = torch.Generator().manual_seed(9)
    state = {key: 0.1 * torch.randn(value.shape, generator=generator) for key, value in adapter_state(backbone).items()}
    load_adapter_state(backbone, state)
    write_package(
        tmp_path / "package",
        draft(KEYS, entry, lora=lora_reference(backbone, settings)),
        random_classifier(entry.spec.feature_width, len(KEYS)),
        calibration=Calibration.model_validate({}),
        metrics={},
        card="# Tests only\n",
        adapter=state,
        registry=registry,
    )
    pictures = torch.rand(2, 3, *entry.spec.native_size, generator=torch.Generator().manual_seed(10))
    return Case(registry, tmp_path / "package", pictures)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path, "medsiglip")


@pytest.fixture
def exported(case: Case, tmp_path: Path) -> Path:
    export_adapter(case.load(), tmp_path / "peft")
    return tmp_path / "peft"


@pytest.mark.parametrize("name", NETWORKS)
def test_peft_loads_the_folder_onto_the_plain_network_and_computes_the_same(tmp_path: Path, name: str) -> None:
    case = make_case(tmp_path, name)
    export_adapter(case.load(), tmp_path / "peft")
    model = PeftModel.from_pretrained(case.plain(), tmp_path / "peft")
    ours_ND = case.features()
    assert torch.allclose(case.peft_features(model), ours_ND, atol=1e-5)
    assert not torch.allclose(case.peft_features(case.plain()), ours_ND, atol=1e-3), "the adapters matter"


@pytest.mark.parametrize("name", NETWORKS)
def test_out_and_back_is_bit_equal(tmp_path: Path, name: str) -> None:
    case = make_case(tmp_path, name)
    before = case.load()
    export_adapter(before, tmp_path / "peft")
    manifest = import_adapter(case.path, tmp_path / "peft", tmp_path / "again", registry=case.registry)
    after = case.load(tmp_path / "again")
    assert manifest.lora == before.manifest.lora, "thirds are thirds again, and targets are the short ones"
    for ours, theirs in ((before.adapter, after.adapter), *(_states(before, after),)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())


def _states(*packages: LoadedPackage) -> tuple[dict[str, Tensor], ...]:
    return tuple(package.classifier.state_dict() for package in packages)


def test_the_folder_holds_router_and_configuration_of_the_mixture(case: Case, exported: Path) -> None:
    record = json.loads((exported / "molre.json").read_text())
    assert record["molre"] == {"n_experts": 6, "rank": 8, "hidden": 256}
    assert record["finding_keys"] == list(KEYS)
    names = set(load_file(exported / "molre.safetensors"))
    assert {"molre.router_hidden.weight", "molre.router_out.bias", "pooling.query_D", "head.weight"} <= names
    assert names == set(case.load().classifier.state_dict())


def test_an_import_says_that_it_was_not_tested(tmp_path: Path) -> None:
    case = make_case(tmp_path, "medsiglip")
    export_adapter(case.load(), tmp_path / "peft")
    manifest = import_adapter(
        case.path, tmp_path / "peft", tmp_path / "again", name="from-peft", registry=case.registry
    )
    package = case.load(tmp_path / "again")
    assert manifest.name == "from-peft"
    assert manifest.training.parent_digest == case.load().digest
    assert "not evaluated, not calibrated" in manifest.notice
    assert package.calibration.root == {}
    assert set(manifest.operating_points.values()) == {0.5}


def test_an_adapter_that_peft_made_and_saved_is_read(case: Case, tmp_path: Path) -> None:
    """Fused, of two ranks, without our files: the classifier stays the base's."""
    config = LoraConfig(
        r=3, lora_alpha=6, target_modules=["qkv", "fc1"], rank_pattern={"fc1": 2}, alpha_pattern={"fc1": 10}
    )
    model = get_peft_model(case.plain(), config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            if "lora_" in key:
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    model.save_pretrained(tmp_path / "theirs")
    manifest = import_adapter(case.path, tmp_path / "theirs", tmp_path / "new", registry=case.registry)
    assert torch.allclose(case.features(tmp_path / "new"), case.peft_features(model), atol=1e-5)
    assert manifest.lora is not None
    assert set(manifest.lora.settings.targets or ()) == {"qkv", "fc1"}
    base, new = _states(case.load(), case.load(tmp_path / "new"))
    assert all(torch.equal(tensor, new[key]) for key, tensor in base.items())


def test_an_exported_adapter_that_peft_trained_on_is_read_as_one_on_the_whole_layer(
    case: Case, exported: Path, tmp_path: Path
) -> None:
    """Training fills the zeros between the thirds' blocks: three adapters can no longer say it."""
    model = PeftModel.from_pretrained(case.plain(), exported, is_trainable=True)
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            if tensor.requires_grad:
                tensor.add_(0.01 if "lora_" in key else 0.0)
    model.save_pretrained(tmp_path / "trained")
    manifest = import_adapter(case.path, tmp_path / "trained", tmp_path / "new", registry=case.registry)
    assert torch.allclose(case.features(tmp_path / "new"), case.peft_features(model), atol=1e-5)
    assert manifest.lora is not None
    assert manifest.lora.tensors["blocks.0.attn.qkv.lora_A.default.weight"] == (12, 64)


def test_thirds_of_different_rank_and_a_missing_one_cross_over(tmp_path: Path) -> None:
    settings = LoraSettings(
        rank=3, alpha=6, targets=("qkv.q", "qkv.v"), rank_pattern={"qkv.v": 2}, alpha_pattern={"qkv.v": 7}
    )
    case = make_case(tmp_path, "medsiglip", settings)
    export_adapter(case.load(), tmp_path / "peft")
    model = PeftModel.from_pretrained(case.plain(), tmp_path / "peft")
    assert torch.allclose(case.peft_features(model), case.features(), atol=1e-5)
    import_adapter(case.path, tmp_path / "peft", tmp_path / "new", registry=case.registry)
    assert torch.allclose(case.features(tmp_path / "new"), case.features(), atol=1e-5)


def test_a_package_without_adapters_can_get_some(case: Case, exported: Path, tmp_path: Path) -> None:
    write_random_package(tmp_path / "bare", KEYS, case.registry, seed=2)
    manifest = import_adapter(tmp_path / "bare", exported, tmp_path / "new", registry=case.registry)
    assert manifest.lora == case.load().manifest.lora
    assert torch.equal(case.features(tmp_path / "new"), case.features())


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_record(folder: Path, **changes: Any) -> None:
    path = folder / "molre.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder: Path, change: Any, name: str = "adapter_model.safetensors") -> None:
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name)


PROJ = "base_model.model.blocks.0.attn.proj"
REFUSALS: dict[str, tuple[Any, str, str]] = {
    "another kind": (lambda f: edit_config(f, peft_type="IA3"), "adapter.kind", "IA3"),
    "DoRA": (lambda f: edit_config(f, use_dora=True), "adapter.kind", "use_dora"),
    "biases": (lambda f: edit_config(f, bias="all"), "adapter.kind", "bias"),
    "an option of a later PEFT": (lambda f: edit_config(f, use_later=True), "adapter.kind", "use_later"),
    "changed weights underneath": (
        lambda f: edit_config(f, init_lora_weights="pissa"),
        "adapter.kind",
        "init_lora_weights",
    ),
    "another rank": (lambda f: edit_config(f, r=5), "adapter.shape", "rank 5"),
    "half an alpha": (lambda f: edit_config(f, lora_alpha=0.5), "adapter.config", "lora_alpha"),
    "no expression": (lambda f: edit_config(f, rank_pattern={"(": 3}), "adapter.config", "rank_pattern"),
    "no JSON": (lambda f: (f / "adapter_config.json").write_text("["), "adapter.damaged", "adapter_config.json"),
    "no weights": (lambda f: (f / "adapter_model.safetensors").unlink(), "adapter.missing", "adapter_model"),
    "cut off": (
        lambda f: (f / "adapter_model.safetensors").write_bytes(b"abc"),
        "adapter.damaged",
        "adapter_model",
    ),
    "one factor": (
        lambda f: edit_tensors(f, lambda t: t.pop(f"{PROJ}.lora_B.weight")),
        "adapter.tensors",
        r"blocks\.0\.attn\.proj",
    ),
    "no numbers": (
        lambda f: edit_tensors(f, lambda t: t[f"{PROJ}.lora_B.weight"].fill_(torch.nan)),
        "adapter.not_finite",
        r"blocks\.0\.attn\.proj",
    ),
    "a module of another network": (
        lambda f: edit_tensors(
            f,
            lambda t: t.update({f"base_model.model.layer.0.fc.lora_{k}.weight": torch.ones(4, 4) for k in "AB"}),
        ),
        "adapter.modules",
        r"layer\.0\.fc",
    ),
    "another width": (
        lambda f: edit_tensors(f, lambda t: t.update({f"{PROJ}.lora_A.weight": torch.ones(4, 48)})),
        "adapter.shape",
        r"blocks\.0\.attn\.proj.* \[4, 48\] .*\[4, 64\]",
    ),
    "a tensor of the mixture lost": (
        lambda f: edit_tensors(f, lambda t: t.pop("molre.router_out.bias"), "molre.safetensors"),
        "package.missing_tensor",
        r"molre\.router_out\.bias",
    ),
    "half of ours": (lambda f: (f / "molre.safetensors").unlink(), "adapter.missing", r"molre\.safetensors"),
    "other findings": (lambda f: edit_record(f, finding_keys=["tumor", *KEYS[1:]]), "adapter.findings", "tumor"),
    "findings in another order": (lambda f: edit_record(f, finding_keys=KEYS[::-1]), "adapter.findings", "order"),
    "an unknown key of ours": (lambda f: edit_record(f, surprise=1), "adapter.config", "surprise"),
    "another backbone": (
        lambda f: edit_record(f, backbone={"name": "other", "weights_digest": "0" * 64, "feature_width": 64}),
        "adapter.backbone",
        "other",
    ),
}


@pytest.mark.parametrize(("damage", "code", "named"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_does_not_fit_is_refused_by_name(
    case: Case, exported: Path, tmp_path: Path, damage: Any, code: str, named: str
) -> None:
    damage(exported)
    with pytest.raises(PackageError, match=named) as caught:
        import_adapter(case.path, exported, tmp_path / "new", registry=case.registry)
    assert caught.value.code == code
    assert not (tmp_path / "new").exists()


def test_a_package_without_adapters_has_none_to_export(tmp_path: Path) -> None:
    registry = small_registry("medsiglip")
    write_random_package(tmp_path / "package", KEYS, registry)
    with pytest.raises(PackageError, match="no LoRA adapters") as caught:
        export_adapter(load_package(tmp_path / "package", registry), tmp_path / "peft")
    assert caught.value.code == "adapter.none"
    assert not (tmp_path / "peft").exists()


def test_an_existing_folder_is_not_written_over(case: Case, exported: Path) -> None:
    with pytest.raises(PackageError, match="exists already"):
        export_adapter(case.load(), exported)
