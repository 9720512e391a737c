"""Packages: written whole, and refused unless they are exactly what was written."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from engine.errors import PackageError
from engine.models.backbones.network import Backbone
from engine.models.calibration import Calibration
from engine.models.lora import adapter_state, apply_lora
from engine.models.manifest import LoraReference, ManifestDraft, parse_manifest, seal_manifest
from engine.models.package import load_package, verify_package, write_package
from engine.models.settings import LoraSettings
from engine.preprocess.spec import PreprocessSpec
from tests.support.models import (
    TINY_WIDTH,
    draft,
    random_classifier,
    tiny_entry,
    tiny_registry,
    write_random_package,
)

KEYS = ("subdural_hematoma", "acute_infarct", "midline_shift")
FILES = ("MODEL_CARD.md", "calibration.json", "manifest.json", "metrics.json", "model.safetensors")
REGISTRY = tiny_registry()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    write_random_package(folder, KEYS, REGISTRY)
    return folder


def refusal(path: Path) -> PackageError:
    with pytest.raises(PackageError) as caught:
        verify_package(path, REGISTRY)
    with pytest.raises(PackageError) as loading:
        load_package(path, REGISTRY)
    assert loading.value.message == caught.value.message
    return caught.value


def reseal(folder: Path, change: Callable[[dict[str, object]], None] = lambda document: None) -> None:
    """Make hashes and seal right again after a change, as a careful forger would."""
    document = json.loads((folder / "manifest.json").read_bytes())
    for name in document["files"]:
        if (folder / name).exists():
            document["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    change(document)
    document["seal"] = "0" * 64
    text = json.dumps(document)
    seal = hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(text.replace(f'"seal": "{"0" * 64}"', f'"seal": "{seal}"'))


def rewrite_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = load(path.read_bytes())
    change(tensors)
    path.write_bytes(save(tensors))
    reseal(folder)


def test_what_was_written_is_read_back(package: Path) -> None:
    assert sorted(item.name for item in package.iterdir()) == sorted(FILES)
    manifest = verify_package(package, REGISTRY)
    assert manifest.finding_keys == KEYS
    assert manifest.notice == "Random weights, for tests only."
    assert manifest.digest == hashlib.sha256((package / "manifest.json").read_bytes()).hexdigest()
    loaded = load_package(package, REGISTRY)
    assert loaded.digest == manifest.digest
    for name, tensor in random_classifier(TINY_WIDTH, len(KEYS)).state_dict().items():
        assert torch.equal(tensor, loaded.classifier.state_dict()[name]), name
    assert not loaded.classifier.training
    assert not any(parameter.requires_grad for parameter in loaded.classifier.parameters())


def test_the_same_content_has_the_same_digest(package: Path, tmp_path: Path) -> None:
    again = write_random_package(tmp_path / "again", KEYS, REGISTRY)
    assert again.digest == verify_package(package, REGISTRY).digest
    other = write_random_package(tmp_path / "other", KEYS, REGISTRY, seed=2)
    assert other.digest != again.digest


@pytest.mark.parametrize("name", FILES)
def test_any_changed_byte_is_refused(package: Path, name: str) -> None:
    """A bit flipped at the start, in the middle and at the end of every file; the message names the file."""
    path = package / name
    original = path.read_bytes()
    for position in {0, len(original) // 3, len(original) // 2, len(original) - 1}:
        changed = bytearray(original)
        changed[position] ^= 0x01
        path.write_bytes(bytes(changed))
        error = refusal(package)
        assert name in error.message
        assert error.code in {"package.changed", "package.json", "package.manifest"}
    path.write_bytes(original)
    verify_package(package, REGISTRY)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(package: Path, name: str) -> None:
    (package / name).unlink()
    error = refusal(package)
    assert error.code == "package.missing_file"
    assert name in error.message


def test_an_extra_file_folder_or_link_is_refused(package: Path) -> None:
    extra = package / "run_me.py"
    extra.write_text("print('never')")
    error = refusal(package)
    assert error.code == "package.extra_file"
    assert "run_me.py" in error.message
    extra.unlink()
    (package / "more").mkdir()
    assert refusal(package).code == "package.extra_file"
    (package / "more").rmdir()
    card = package / "MODEL_CARD.md"
    shutil.copy(card, package.parent / "card")
    card.unlink()
    card.symlink_to(package.parent / "card")
    assert refusal(package).code == "package.extra_file"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document.update(surprise=1), "surprise"),
        (lambda document: document["molre"].update(dropout=0.1), "molre.dropout"),
        (lambda document: document.pop("notice"), "notice"),
        (lambda document: document["molre"].update(rank="eight"), "molre.rank"),
        (lambda document: document["operating_points"].update(midline_shift=1.5), "operating_points.midline_shift"),
        (lambda document: document["operating_points"].pop("midline_shift"), "operating_points"),
        (lambda document: document.update(finding_keys=["a", "a"]), "twice"),
        (lambda document: document.update(name="../../evil"), "name"),
        (lambda document: document["files"].pop("MODEL_CARD.md"), "MODEL_CARD.md"),
        (lambda document: document["files"].update({"../x": "0" * 64}), "list exactly"),
    ],
)
def test_a_wrong_manifest_is_refused_though_its_seal_holds(
    package: Path, change: Callable[[dict[str, object]], None], words: str
) -> None:
    reseal(package)
    verify_package(package, REGISTRY)
    reseal(package, change)
    error = refusal(package)
    assert error.code == "package.manifest"
    assert "manifest.json" in error.message
    assert words in error.message


def test_a_newer_schema_is_refused_with_its_own_remedy(package: Path) -> None:
    reseal(package, lambda document: document.update(schema_version=2, new_key_of_version_2=True))
    error = refusal(package)
    assert error.code == "package.newer"
    assert "Update the program" in error.hint


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"\xff\xfe", b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a":' * 200_000, b'{"schema_version": 1}'],
)
def test_no_manifest_at_all_is_refused(package: Path, content: bytes) -> None:
    (package / "manifest.json").write_bytes(content)
    assert refusal(package).code in {"package.json", "package.changed"}


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda tensors: tensors.pop("head.bias"), "missing_tensor", "head.bias"),
        (lambda tensors: tensors.update(surprise=np.zeros(3, np.float32)), "extra_tensor", "surprise"),
        (
            lambda tensors: tensors.update({"adapter.conv.lora_A.default.weight": np.zeros(3, np.float32)}),
            "extra_tensor",
            "adapter.conv",
        ),
        (
            lambda tensors: tensors.update({"head.bias": tensors["head.bias"].astype(np.float64)}),
            "tensor_shape",
            "head.bias",
        ),
        (lambda tensors: tensors.update({"head.weight": tensors["head.weight"][:2]}), "tensor_shape", "head.weight"),
        (lambda tensors: tensors["pooling.query_D"].__setitem__(0, np.nan), "not_finite", "not finite"),
    ],
)
def test_wrong_tensors_are_refused_though_hashes_hold(
    package: Path, change: Callable[[dict[str, np.ndarray]], None], code: str, words: str
) -> None:
    rewrite_tensors(package, lambda tensors: None)
    verify_package(package, REGISTRY)
    rewrite_tensors(package, change)
    error = refusal(package)
    assert error.code == f"package.{code}"
    assert words in error.message
    assert "model.safetensors" in error.message


@pytest.mark.parametrize("damage", ["empty", "cut", "long_header", "trailing", "pickle", "overlap"])
def test_damaged_tensor_files_are_refused_though_hashes_hold(package: Path, damage: str) -> None:
    path = package / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if damage == "overlap":
        begin = header["pooling.query_D"]["data_offsets"][0]
        header["head.bias"]["data_offsets"] = [begin, begin + 4 * len(KEYS)]
    text = json.dumps(header).encode()
    damaged = {
        "empty": b"",
        "cut": content[:-4],
        "long_header": (2**60).to_bytes(8, "little") + content[8:],
        "trailing": content + bytes(4),
        "pickle": b"\x80\x04\x95" + bytes(100),
        "overlap": len(text).to_bytes(8, "little") + text + content[8 + length :],
    }[damage]
    path.write_bytes(damaged)
    reseal(package)
    assert refusal(package).code == "package.tensor_file"


def test_a_sealed_package_with_a_key_outside_the_catalogue_is_refused(package: Path) -> None:
    known = set(KEYS) - {"midline_shift"}
    with pytest.raises(PackageError) as caught:
        verify_package(package, REGISTRY, known)
    assert caught.value.code == "package.unknown_finding"
    assert str(package) in caught.value.message
    assert "midline_shift" in caught.value.message
    assert "acute_infarct" not in caught.value.message
    verify_package(package, REGISTRY, KEYS)


def test_calibration_for_other_keys_or_of_other_kinds_is_refused(package: Path) -> None:
    for content in (
        {"brain_tumor": {"method": "temperature", "temperature": 2.0}},
        {"midline_shift": {"method": "magic"}},
        {"midline_shift": {"method": "temperature", "temperature": -1.0}},
    ):
        (package / "calibration.json").write_text(json.dumps(content))
        reseal(package)
        error = refusal(package)
        assert error.code == "package.calibration"
        assert "calibration.json" in error.message


def test_backbone_must_be_known_and_have_the_same_weights(package: Path) -> None:
    other_weights = tiny_registry(hashlib.sha256(b"other").hexdigest())
    with pytest.raises(PackageError) as caught:
        verify_package(package, other_weights)
    assert caught.value.code == "package.backbone_weights"
    assert caught.value.kind == "environment"
    with pytest.raises(PackageError) as caught:
        verify_package(package)
    assert caught.value.code == "backbone.unknown"
    assert str(package) in caught.value.message
    assert "tiny" in caught.value.message
    reseal(package, lambda document: document["backbone"].update(feature_width=13))
    assert refusal(package).code in {"package.backbone_width", "package.tensor_shape"}


def zipped(package: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in sorted(package.iterdir()):
            archive.write(item, prefix + item.name)
    return path


@pytest.mark.parametrize("prefix", ["", "package/"])
def test_a_zip_is_the_same_package(package: Path, tmp_path: Path, prefix: str) -> None:
    archive = zipped(package, tmp_path / "package.zip", prefix)
    loaded = load_package(archive, REGISTRY)
    assert loaded.digest == verify_package(package, REGISTRY).digest
    assert not any(item.name.startswith(".package") for item in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a\\..\\evil", "C:evil", "package/../../evil"])
def test_zip_members_that_lead_elsewhere_are_refused(package: Path, tmp_path: Path, name: str) -> None:
    archive = zipped(package, tmp_path / "package.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(name, "x")
    assert refusal(archive).code == "package.unsafe_name"


def test_zip_links_bombs_and_doubles_are_refused(package: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = zipped(package, tmp_path / "link.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, "/etc/passwd")
    assert refusal(archive).code == "package.unsafe_name"
    (package / "MODEL_CARD.md").write_bytes(bytes(17 * 2**20))
    bomb = zipped(package, tmp_path / "bomb.zip")
    assert bomb.stat().st_size < 2**20
    assert refusal(bomb).code == "package.too_large"
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as opened:
        for index in range(100):
            opened.writestr(f"{index}", "")
    assert refusal(many).code == "package.extra_file"
    double = zipped(package, tmp_path / "double.zip")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(double, "a") as opened:
        opened.writestr("metrics.json", "{}")
    assert refusal(double).code == "package.extra_file"


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_inside_a_zip_is_refused(package: Path, tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for item in sorted(package.iterdir()):
            archive.write(item, item.name)
            if item.name == name:
                end = buffer.tell()
    content = bytearray(buffer.getvalue())
    content[end - 2] ^= 0x01
    path = tmp_path / "changed.zip"
    path.write_bytes(bytes(content))
    error = refusal(path)
    assert error.code == "package.changed"
    assert name in error.message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip at all" * 10])
def test_what_is_no_package_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "package.zip"
    path.write_bytes(content)
    assert refusal(path).code == "package.unreadable"
    assert refusal(tmp_path / "nowhere").code == "package.unreadable"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").code == "package.missing_file"


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"head\.(weight|bias) is F32"):
        write_package(
            tmp_path / "package",
            draft(KEYS, tiny_entry()),
            random_classifier(TINY_WIDTH, len(KEYS) + 1),
            calibration=Calibration({}),
            metrics={},
            card="",
            registry=REGISTRY,
        )
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(package: Path) -> None:
    before = (package / "manifest.json").read_bytes()
    with pytest.raises(PackageError) as caught:
        write_random_package(package, KEYS, REGISTRY, seed=9)
    assert caught.value.code == "package.not_written"
    assert (package / "manifest.json").read_bytes() == before


def test_adapters_travel_in_the_package(tmp_path: Path) -> None:
    backbone = Backbone(tiny_entry())
    settings = LoraSettings(rank=2, alpha=4)
    apply_lora(backbone, settings)
    state = {name: torch.randn(tensor.shape) for name, tensor in adapter_state(backbone).items()}
    reference = LoraReference(settings=settings, tensors={name: tuple(item.shape) for name, item in state.items()})
    parts = {"calibration": Calibration({}), "metrics": {}, "card": "", "registry": REGISTRY}
    classifier = random_classifier(TINY_WIDTH, len(KEYS))
    write_package(tmp_path / "a", draft(KEYS, tiny_entry(), lora=reference), classifier, adapter=state, **parts)
    loaded = load_package(tmp_path / "a", REGISTRY)
    assert loaded.manifest.lora == reference
    assert loaded.adapter.keys() == state.keys()
    assert all(torch.equal(loaded.adapter[name], tensor) for name, tensor in state.items())
    with pytest.raises(PackageError, match="missing tensors: adapter"):
        write_package(tmp_path / "b", draft(KEYS, tiny_entry(), lora=reference), classifier, **parts)


def test_the_manifest_survives_the_round_trip() -> None:
    made: ManifestDraft = draft(KEYS, tiny_entry(), notice='Says "seal": "00" and más.')
    content = seal_manifest(made, {"metrics.json": "0" * 64})
    parsed = parse_manifest(content, "manifest.json")
    assert parsed.model_dump(include=set(made.model_fields_set)) == made.model_dump(include=set(made.model_fields_set))


def test_verification_needs_no_torch(tmp_path: Path) -> None:
    write_random_package(tmp_path / "real", KEYS)
    code = (
        "import sys, pathlib; from engine.models.package import verify_package; "
        "import engine.models.library, engine.inference.messages, engine.models.manifest, engine.inference.worker; "
        "print(verify_package(pathlib.Path(sys.argv[1])).name, [name for name in ('torch', 'timm', 'peft') "
        "if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "real")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["tests-only", "[]"]


def test_a_package_whose_preprocessing_does_not_fill_the_backbones_channels_is_refused(tmp_path: Path) -> None:
    two_windows = PreprocessSpec(align=False, windows_hu=((0.0, 80.0), (-20.0, 180.0)))
    with pytest.raises(PackageError) as caught:
        write_random_package(tmp_path / "package", ("aneurysm",), tiny_registry(), preprocessing=two_windows)
    assert caught.value.code == "package.backbone_channels"
    assert "2 channels, but tiny reads 3" in caught.value.message
