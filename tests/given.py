"""What the commands of the pages take as given below `/data`, in small, from the folder of real data (CONTRIBUTING.md).

Files are made when a command first names them. Stand-ins are used for models that the folder lacks.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
from onnx import TensorProto, helper

# How many class folders, photographs, images of COCO, recordings and questions are used.
CLASSES, FLAT, COCO, RECORDINGS, QUESTIONS = 20, 12, 6, 3, 24

_IMAGENET = 'mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\nscale = "1/255"\n'
_LITE = "mean = [127, 127, 127]\nstd = [128, 128, 128]\nscale = 1\n"
_RGB = 'channels = "rgb"\nlayout = "nchw"\n'
_MODELS = {
    "squeezenet.onnx": ("squeezenet1_1_224.onnx", _IMAGENET),
    "resnet18.onnx": ("squeezenet1_1_224.onnx", _IMAGENET),
    "resnet34.onnx": ("squeezenet1_1_224.onnx", _IMAGENET),
    "resnet50.onnx": ("efficientnet_lite0.onnx", _LITE),
    "mobilenetv2.onnx": ("efficientnet_lite0.onnx", _LITE),
    "efficientnet_lite0.onnx": ("efficientnet_lite0.onnx", _LITE),
}
# As `.venv/bin/python WORDS`, below the checkout.
Run = Callable[[str], None]


class Given:
    """The folder that stands for `/data`."""

    def __init__(self, folder: Path, real: Path, run: Run) -> None:
        self.folder, self.real, self.run = folder, real, run
        self.makers: dict[str, Callable[[Path], object]] = {
            "imagenet/val": self._tree,
            "imagenet/train": self._tree,
            "imagenet/flat": self._flat,
            "val": self._flat,
            "val.txt": self._labels,
            "coco/val2017.zip": self._zip,
            "coco/instances_val2017.json": self._annotations,
            "cityscapes": lambda path: path.symlink_to(real / "cityscapes"),
            "LJSpeech-1.1": self._recordings,
            "piqa.jsonl": self._questions,
            "opt.onnx": self._language_model,
            "segmenter.onnx": _segmenter,
            "vocoder.onnx": _vocoder,
            **dict.fromkeys(_MODELS, self._model),
            "noised/imagenet": lambda _: self._generate("imagenet", "--source /data/imagenet/val"),
            "noised/coco": lambda _: self._generate(
                "coco", "--source /data/coco/val2017.zip --annotations /data/coco/instances_val2017.json"
            ),
            "noised/speech": lambda _: run("generate.py --variant resample --dataset speech --output /data/noised"),
            "dump": self._dump,
            "logits": self._logits,
            "predictions": self._predictions,
            "boxes": self._boxes,
            **dict.fromkeys(("report_resnet34", "report_resnet50"), self._report),
        }

    def make(self, command: str) -> None:
        """Make what a command reads as `/data/…`, if it is one of the things that pages take as given."""
        read = re.sub(r"--output \S+", "", f"{command} ")
        for name, maker in self.makers.items():
            path = self.folder / name
            if f"/data/{name} " in read and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                maker(path)

    def _generate(self, dataset: str, source: str) -> None:
        variants = "reference,pil_lanczos,opencv_bilinear,opencv_nearest"
        self.run(f"generate.py --variant {variants} --dataset {dataset} {source} --output /data/noised")

    def _tree(self, path: Path) -> None:
        for folder in sorted((self.real / "imagenet" / "tree").iterdir())[:CLASSES]:
            shutil.copytree(folder, path / folder.name)

    def _flat(self, path: Path) -> None:
        path.mkdir()
        for file in self._photographs():
            shutil.copy(file, path)

    def _labels(self, path: Path) -> None:
        with open(self.real / "imagenet" / "val.txt") as lines:
            kept = {file.name for file in self._photographs()}
            path.write_text("".join(line for line in lines if line.split()[0] in kept))

    def _photographs(self) -> list[Path]:
        return sorted((self.real / "imagenet" / "flat").iterdir())[:FLAT]

    def _truth(self) -> dict[str, Any]:
        """The first images of COCO and their annotations."""
        truth: dict[str, Any] = json.loads((self.real / "coco/annotations/instances_val2017.json").read_text())
        truth["images"] = truth["images"][:COCO]
        ids = {image["id"] for image in truth["images"]}
        truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] in ids]
        return truth

    def _zip(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as file:
            for image in self._truth()["images"]:
                file.write(self.real / "coco" / "val2017" / image["file_name"], f"val2017/{image['file_name']}")

    def _annotations(self, path: Path) -> None:
        path.write_text(json.dumps(self._truth()))

    def _recordings(self, path: Path) -> None:
        source = self.real / "speech" / "LJSpeech-1.1"
        (path / "wavs").mkdir(parents=True)
        lines = (source / "metadata.csv").read_text().splitlines()[:RECORDINGS]
        (path / "metadata.csv").write_text("\n".join(lines) + "\n")
        for line in lines:
            shutil.copy(source / "wavs" / f"{line.partition('|')[0]}.wav", path / "wavs")

    def _questions(self, path: Path) -> None:
        with open(self.real / "text" / "piqa.jsonl") as lines:
            path.write_text("".join(itertools.islice(lines, QUESTIONS)))

    def _language_model(self, path: Path) -> None:
        shutil.copy(self.real / "text" / "stories260K.onnx", path)
        shutil.copy(self.real / "text" / "tokenizer.json", path.parent)
        begins = {"add_bos_token": True, "bos_token": "<s>"}
        (path.parent / "tokenizer_config.json").write_text(json.dumps(begins))

    def _model(self, path: Path) -> None:
        name, preprocessing = _MODELS[path.name]
        model = onnx.load(self.real / "models" / name)
        model.doc_string = path.name  # so that two stand-ins for different models differ
        for node in model.graph.node:
            if node.op_type == "MaxPool":  # SqueezeNet's rounds up; at 224 pixels rounding down is the same
                kept = [each for each in node.attribute if each.name != "ceil_mode"]
                del node.attribute[:]
                node.attribute.extend(kept)
        onnx.save(model, path)
        path.with_suffix(".toml").write_text(preprocessing + _RGB)

    def _tars(self, dataset: str, variant: str) -> list[Path]:
        return sorted((self.folder / "noised" / dataset / variant).glob("*.tar"))

    def _dump(self, path: Path) -> None:
        """What a device with `opencv_bilinear` feeds its model."""
        for each in self._tars("imagenet", "opencv_bilinear"):
            with tarfile.open(each) as tar:
                tar.extractall(path, [member for member in tar if member.name.endswith(".png")], filter="data")

    def _logits(self, path: Path) -> None:
        """What mobilenetv2.onnx puts out for that."""
        path.mkdir()
        self.make("/data/dump /data/mobilenetv2.onnx")
        session = onnxruntime.InferenceSession(self.folder / "mobilenetv2.onnx")
        for file in sorted((self.folder / "dump").iterdir()):
            pixels = np.asarray(_opened(file), np.float32).transpose(2, 0, 1)
            (logits,) = session.run(None, {session.get_inputs()[0].name: (pixels[None] - 127) / 128})
            np.save(path / f"{file.stem}.npy", logits[0])

    def _rows(self, dataset: str) -> dict[str, list[dict[str, Any]]]:
        """The rows of each variant's manifest."""
        root = self.folder / "noised" / dataset
        return {path.parent.name: pq.read_table(path).to_pylist() for path in root.glob("*/manifest.parquet")}

    def _predictions(self, path: Path) -> None:
        """The right answers, as of a perfect classifier."""
        path.mkdir()
        for variant, rows in self._rows("imagenet").items():
            with open(path / f"{variant}.csv", "w", newline="") as file:
                csv.writer(file).writerows([("key", "pred"), *((row["key"], row["label"]) for row in rows)])

    def _boxes(self, path: Path) -> None:
        """The right boxes, as of a perfect detector."""
        path.mkdir()
        kept = ("image_id", "category_id", "bbox")
        found = [{name: one[name] for name in kept} | {"score": 0.9} for one in self._truth()["annotations"]]
        for variant in self._rows("coco"):
            (path / f"{variant}.json").write_text(json.dumps(found))

    def _report(self, path: Path) -> None:
        model = f"/data/{path.name.removeprefix('report_')}.onnx"
        self.run(f"score.py --shards /data/noised/imagenet --model {model} --output /data/{path.name}")


def _opened(file: Path) -> Any:
    from PIL import Image

    return Image.open(file)


def _segmenter(path: Path) -> None:
    """A convolution from colours to 19 classes."""
    weight = np.random.default_rng(0).normal(size=(19, 3, 1, 1)).astype(np.float32)
    node = helper.make_node("Conv", ["pixels", "weight"], ["logits"])
    _save(path, node, ["batch", 3, "height", "width"], ["batch", 19, "height", "width"], {"weight": weight})
    path.with_suffix(".toml").write_text(_IMAGENET + _RGB)


def _vocoder(path: Path) -> None:
    """Gives back the mels that it gets."""
    shape = ["batch", 80, "frames"]
    _save(path, helper.make_node("Identity", ["pixels"], ["logits"]), shape, shape, {})


def _save(path: Path, node: onnx.NodeProto, takes: list[Any], gives: list[Any], weights: dict[str, Any]) -> None:
    graph = helper.make_graph(
        [node],
        path.stem,
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, gives)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
