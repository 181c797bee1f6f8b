"""timm's and torchvision's models by name, against the libraries themselves: pixels, outputs and labels.

Outside CI, skipped if the libraries of requirements-timm.txt are not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
from onnx import numpy_helper
from PIL import Image

import score
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.named import exported as exports
from pipelines.evaluate.model.named import kept_or_not, model_file
from pipelines.evaluate.model.named.built import Built
from pipelines.evaluate.model.named.checkpoint import load_weights, read_checkpoint
from pipelines.evaluate.model.named.export import compare, photographs
from pipelines.evaluate.model.named.pytorch import required
from pipelines.evaluate.model.preprocessing import read_preprocessing
from pipelines.generate.sources.labels import label_by_synset
from tests.conftest import Command
from tests.lazily import Lazily

LIBRARIES = ("torch", "torchvision", "timm", "onnxscript", "safetensors")
MISSING = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
if MISSING and not os.environ.get("CI"):
    pytest.skip(f"not installed: {', '.join(MISSING)}", allow_module_level=True)

torch: Any = Lazily("torch")
timm: Any = Lazily("timm")
models: Any = Lazily("torchvision.models")
safetensors: Any = Lazily("safetensors.torch")
by_timm: Any = Lazily("pipelines.evaluate.model.named.timm")
by_torchvision: Any = Lazily("pipelines.evaluate.model.named.torchvision")
# A model with only 470,000 weights.
NAME = "test_resnet"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def network(classes: int = 1000, seed: int = 1) -> Any:
    """A small timm network whose predictions differ between images."""
    torch.manual_seed(seed)
    made = timm.create_model(NAME, num_classes=classes)
    torch.nn.init.normal_(made.fc.weight)
    return made.eval()


def saved(path: Path, **how: Any) -> Path:
    safetensors.save_file(network(**how).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """An export; not to be changed."""
    return model_file(f"timm:{NAME}", str(checkpoint), tmp_path_factory.mktemp("kept"))


@pytest.fixture
def there(kept: Path, tmp_path: Path) -> Path:
    """A copy of the export, which may be damaged."""
    return shutil.copytree(kept.parent, tmp_path / "models") / kept.name


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raises UsageError instead of exporting."""

    def refuse(built: Built, path: Path) -> None:
        raise UsageError("it would be made again")

    monkeypatch.setattr(exports, "export", refuse)


def timm_s(name: str) -> Any:
    """The transform of timm's validate.py."""
    config = timm.get_pretrained_cfg(name).to_dict()
    data = required("timm.data")
    return data.create_transform(**data.resolve_data_config(pretrained_cfg=config, use_test_size=True))


def test_a_named_model_predicts_like_its_library(
    kept: Path,
    checkpoint: Path,
    photographs: Mapping[str, bytes],
    generate: Command,
    tmp_path: Path,
    no_export: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--variant", "reference,pil_bilinear", "--reference", "pil_bicubic", "--size", 160, "--crop-pct", 0.95]
    generate(*words, "--output", tmp_path)
    shutil.copytree(kept.parent, tmp_path / "report" / "models")
    words = ["--shards", tmp_path / "sample", "--model", f"timm:{NAME}", "--checkpoint", checkpoint]
    assert score.main([*map(str, words), "--output", str(tmp_path / "report")]) == 0
    assert "timm:test_resnet is " in capsys.readouterr().err
    rows = pq.read_table(tmp_path / "report" / "predictions" / "pil_bilinear.parquet").to_pylist()
    transform, module = timm_s(NAME), network()
    for row in rows:
        picture = Image.open(io.BytesIO(photographs[row["key"]])).convert("RGB")
        with torch.inference_mode():
            expected = module(transform(picture)[None])[0].topk(5).indices.tolist()
        assert list(row["top5"]) == expected
    assert len({row["top5"][0] for row in rows}) > 2
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert found["model"] == "timm_test_resnet_tiny"
    assert any("trained on pil+pil_bilinear, but the reference of these shards" in note for note in found["notes"])


def test_an_export_takes_batches_of_any_size_and_names_no_folder(kept: Path) -> None:
    onnx.checker.check_model(str(kept), full_check=True)
    session = onnxruntime.InferenceSession(str(kept), providers=["CPUExecutionProvider"])
    images = torch.randn(7, 3, 160, 160)
    with torch.inference_mode():
        expected = network()(images).numpy()
    for count in (1, 2, 7):
        (found,) = session.run(None, {"images": images[:count].numpy()})
        np.testing.assert_allclose(found, expected[:count], atol=1e-4 * np.abs(expected).max())
    assert b"site-packages" not in kept.read_bytes()
    record = json.loads(kept.with_suffix(".json").read_text())
    assert len(record["checked"]["images"]) == 9
    assert str(kept.parent) not in json.dumps(record)


def change_toml(path: Path) -> None:
    toml = path.with_suffix(".toml")
    toml.write_text(toml.read_text().replace("0.95", "0.9"))


def change_model(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def damage_record(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


@pytest.mark.parametrize("change", [change_toml, change_model, damage_record])
@pytest.mark.usefixtures("no_export")
def test_an_export_is_made_once_and_again_after_a_change(there: Path, checkpoint: Path, change: Any) -> None:
    assert model_file(f"timm:{NAME}", str(checkpoint), there.parent) == there
    change(there)
    with pytest.raises(UsageError, match="made again"):
        model_file(f"timm:{NAME}", str(checkpoint), there.parent)


@pytest.mark.usefixtures("no_export")
def test_other_weights_of_the_same_name_are_another_model(there: Path, tmp_path: Path) -> None:
    other = saved(tmp_path / "tiny.safetensors", seed=2)
    with pytest.raises(UsageError, match="made again"):
        model_file(f"timm:{NAME}", str(other), there.parent)


def test_an_export_that_differs_from_the_model_is_not_kept(
    kept: Path, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "export", lambda built, path: shutil.copy(kept, path))
    other = saved(tmp_path / "tiny.safetensors", seed=2)
    with pytest.raises(RunError, match=r"is not the same model: its outputs \(up to .*\) differ by"):
        model_file(f"timm:{NAME}", str(other), there.parent)
    assert not there.exists()
    assert not there.with_suffix(".json").exists()


def test_nan_differs_from_the_model(kept: Path, checkpoint: Path) -> None:
    built = by_timm.build(NAME, checkpoint)
    built.module.fc.bias.data[0] = float("nan")
    with pytest.raises(RunError, match="is not the same model"):
        compare(built, kept, read_preprocessing(kept, {}))


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "vit_base_patch16_siglip_224.v2_webli"])
def test_pixels_are_timm_s(name: str, photographs: Mapping[str, bytes], tmp_path: Path) -> None:
    config = timm.get_pretrained_cfg(name)
    stated, _ = by_timm.preprocessing(name, config)
    compare_pixels(stated, timm_s(name), photographs, tmp_path)


@pytest.mark.parametrize(
    ("name", "weights"), [("resnet50", "IMAGENET1K_V1"), ("resnet50", "IMAGENET1K_V2"), ("efficientnet_b3", "DEFAULT")]
)
def test_pixels_are_torchvision_s(name: str, weights: str, photographs: Mapping[str, bytes], tmp_path: Path) -> None:
    transforms = models.get_model_weights(name)[weights].transforms()
    compare_pixels(by_torchvision.preprocessing(transforms), transforms, photographs, tmp_path)


def compare_pixels(stated: Mapping[str, Any], transform: Any, pictures: Mapping[str, bytes], folder: Path) -> None:
    """Check that a TOML with these values gives the same inputs as the library's transform."""
    (folder / "m.onnx").touch()
    (folder / "m.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in stated.items()))
    ours = read_preprocessing(folder / "m.onnx", {})
    for key, pixels in zip(*photographs(ours), strict=True):
        expected = transform(Image.open(io.BytesIO(pictures[key])).convert("RGB")).numpy()
        found = (pixels * ours.scale - np.array(ours.mean)) / np.array(ours.std)
        np.testing.assert_allclose(found.transpose(2, 0, 1), expected, atol=1e-5)


@pytest.mark.parametrize(("classes", "among"), [(11821, 993), (21841, 999)])
def test_other_label_spaces_are_mapped_by_synset(classes: int, among: int, tmp_path: Path) -> None:
    built = by_timm.build(NAME, saved(tmp_path / "many.safetensors", classes=classes))
    subset = {11821: "imagenet-12k", 21841: "imagenet-22k"}[classes]
    synsets = required("timm.data").ImageNetInfo(subset).label_names()
    ours = sorted(label_by_synset())
    assert len(built.labels) == classes
    assert sum(label >= 0 for label in built.labels) == among
    assert all(ours[label] == synset for label, synset in zip(built.labels, synsets, strict=True) if label >= 0)
    assert any(f"{classes:,} classes" in note for note in built.notes)


def test_labels_are_written_beside_a_model_that_needs_them(checkpoint: Path, kept: Path, tmp_path: Path) -> None:
    built = by_timm.build(NAME, checkpoint)
    labelled = Built(built.name, built.module, "many", built.stated, built.packages, list(range(999, -1, -1)))
    for name, text in exports.beside(labelled).items():
        (tmp_path / name).write_text(text)
    shutil.copy(kept, tmp_path / f"{labelled.stem}.onnx")
    assert read_preprocessing(tmp_path / f"{labelled.stem}.onnx", {}).labels == tuple(range(999, -1, -1))


def test_the_first_of_1001_classes_is_the_background(tmp_path: Path) -> None:
    built = by_timm.build(NAME, saved(tmp_path / "background.safetensors", classes=1001))
    assert built.stated["class_offset"] == 1


def test_torchvision_s_own_weights_are_loaded_as_weights_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    entry = models.get_model_weights("shufflenet_v2_x0_5")["DEFAULT"]
    path = tmp_path / "hub" / "checkpoints" / entry.url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.manual_seed(3)
    module = models.shufflenet_v2_x0_5().eval()
    torch.save(module.state_dict(), path)
    built = by_torchvision.build("shufflenet_v2_x0_5", None)
    images = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(built.module(images), module(images))
    assert built.name == f"torchvision:shufflenet_v2_x0_5.{entry.name}"
    torch.save({"weights": Held}, path)
    with pytest.raises(UsageError, match=r"could not be fetched .*: give --checkpoint FILE"):
        by_torchvision.build("shufflenet_v2_x0_5", None)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm:resnet81", "timm has no such classifier: did you mean"),
        ("timm:resnet18.a9_in1k", "did you mean resnet18.a"),
        ("timm:vit_base_patch16_dinov3", "has no classifier"),
        ("timm:vit_base_patch16_sapiens2.fb", "has no classifier"),
        ("timm:volo_d4_448.sail_in1k", "crop_pct 1.15, which no shards have"),
        ("timm:test_maxvit", "timm has no weights for test_maxvit: give --checkpoint FILE"),
        ("torchvision:resnet51", "torchvision has no such classifier: did you mean resnet50"),
        ("torchvision:resnet50.V3", "resnet50 has only the weights IMAGENET1K_V1, IMAGENET1K_V2"),
        ("torchvision:fasterrcnn_resnet50_fpn", "is not a classifier: export it to ONNX yourself"),
    ],
)
def test_unknown_and_unsuitable_models_are_refused_in_one_line(model: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        model_file(model, None, tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_fetched_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = required("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"weights of timm:test_resnet\.r160_in1k could not be fetched"):
        by_timm.build(NAME, None)


@pytest.mark.parametrize("module", ["timm", "torch", "onnxscript"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    module: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=f"{module}.*pip install -r requirements-timm.txt"):
        model_file(f"timm:{NAME}", str(checkpoint), tmp_path)


class Held:
    """An object that is not a weight."""


def test_checkpoints_of_training_scripts_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = torch.nn.Linear(2, 3).state_dict()
    average = {name: tensor + 1 for name, tensor in weights.items()}
    forms = {
        "plain.bin": weights,
        "parallel.pth": {"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}},
        "compiled.pth": {"model": {f"_orig_mod.module.{name}": tensor for name, tensor in weights.items()}, "epoch": 3},
        "timm.pth.tar": {"state_dict": weights, "args": argparse.Namespace(lr=0.1)},
    }
    for name, form in forms.items():
        torch.save(form, tmp_path / name)
        module = torch.nn.Linear(2, 3)
        load_weights(module, read_checkpoint(tmp_path / name), tmp_path / name)
        assert all(torch.equal(module.state_dict()[key], tensor) for key, tensor in weights.items())
    assert not capsys.readouterr().err
    torch.save({"state_dict": weights, "state_dict_ema": average}, tmp_path / "both.pth")
    assert torch.equal(read_checkpoint(tmp_path / "both.pth")["bias"], average["bias"])
    assert "state_dict_ema is used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (SimpleNamespace(weight=1), "it asks for types.SimpleNamespace"),
        ({"state_dict": {"weight": Held}}, "it asks for .*Held"),
        (b"no pickle", "cannot be read as weights only"),
        ({"epoch": 3}, "has no state_dict"),
        ([1, 2], "has no state_dict"),
        ({}, "of its 2 tensors, 2 missing .weight, bias."),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "more": torch.zeros(1)}, "1 unknown .more."),
        ({"weight": torch.zeros(3, 2)}, "1 missing .bias."),
        ({"weight": torch.zeros(4, 2), "bias": torch.zeros(3)}, r"1 of another shape .weight \(4, 2\) for \(3, 2\)."),
    ],
)
def test_invalid_checkpoints_are_refused_and_load_nothing(held: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "held.pth"
    if isinstance(held, bytes):
        path.write_bytes(held)
    else:
        torch.save(held, path)
    module = torch.nn.Linear(2, 3)
    before = module.weight.clone()
    with pytest.raises(UsageError, match=message) as caught:
        load_weights(module, read_checkpoint(path), path)
    assert "\n" not in str(caught.value)
    assert torch.equal(module.weight, before)


def test_files_are_used_directly_and_a_plan_keeps_no_export(
    kept: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_file("a/model.onnx", None, tmp_path) == Path("a/model.onnx")
    monkeypatch.setattr(exports, "export", lambda built, path: shutil.copy(kept, path))
    with kept_or_not(f"timm:{NAME}", str(checkpoint), tmp_path, kept=False) as path:
        assert path.read_bytes() == kept.read_bytes()
    assert not path.exists()
    assert not list(tmp_path.iterdir())


def test_published_weights_score_the_same_by_name_and_in_their_published_export(data: Path, tmp_path: Path) -> None:
    """EfficientNet-Lite0, whose published export folds batch normalisation into convolutions."""
    module = timm.create_model("tf_efficientnet_lite0").eval()
    published = data / "models" / "efficientnet_lite0.onnx"
    graph = onnx.load(published).graph
    arrays = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    convolutions = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    for node, convolution, norm in zip(nodes, convolutions, norms, strict=True):
        convolution.weight.data = arrays[node.input[1]]
        norm.weight.data.fill_((1 + norm.eps) ** 0.5)
        norm.bias.data = arrays[node.input[2]]
    module.classifier.weight.data, module.classifier.bias.data = arrays["_fc.weight"], arrays["_fc.bias"]
    safetensors.save_file(module.state_dict(), tmp_path / "lite0.safetensors")
    path = model_file("timm:tf_efficientnet_lite0", str(tmp_path / "lite0.safetensors"), tmp_path)
    theirs, ours = (
        onnxruntime.InferenceSession(str(each), providers=["CPUExecutionProvider"]) for each in (published, path)
    )
    transform = timm_s("tf_efficientnet_lite0")
    pictures = sorted((data / "imagenet" / "flat").glob("*.JPEG"))
    right = 0
    labels = dict(line.split() for line in (data / "imagenet" / "flat.txt").read_text().splitlines())
    for picture in pictures:
        image = transform(Image.open(picture).convert("RGB")).numpy()[None]
        (expected,), (found,) = (
            theirs.run(None, {theirs.get_inputs()[0].name: image}),
            ours.run(None, {"images": image}),
        )
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert found.argmax() == expected.argmax()
        right += int(found.argmax()) == int(labels[picture.name])
    assert len(pictures) > 60
    assert right / len(pictures) > 0.7
