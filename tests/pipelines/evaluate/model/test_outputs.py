"""Which of a classifier's outputs is read, and which labels its classes are, in different exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generators.boxes import NONE
from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.inputs import Image, fitting
from pipelines.evaluate.model.preprocessing import Preprocessing, read_preprocessing
from pipelines.evaluate.model.readers import kind_for
from pipelines.evaluate.model.readers.classes import Classifier
from pipelines.evaluate.model.runtimes import Input, open_session
from pipelines.generate.sources.labels import label_by_synset
from pipelines.shards import Shards
from tests.pipelines.evaluate.model.models import colour_model, constant_model, predict_plain

RGB = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 1 / 255, "rgb", "nchw")
INPUTS = fitting(Input("image", np.dtype(np.float32), None, None, None), RGB, np.zeros((4, 4, 3), np.uint8))
SCORES = np.random.default_rng(8).normal(size=(1, 1000)).astype(np.float32)
BEST = np.argsort(-SCORES[0])[:5].tolist()
FEATURES = np.zeros((1, 2048), np.float32)


def best(outputs: dict[str, NDArray[Any]], preprocessing: Preprocessing = RGB, count: int = 1) -> list[list[int]]:
    """The five best labels of each image, by a reader made from the first image's outputs."""
    reader = Classifier(preprocessing, INPUTS, {name: output[:1] for name, output in outputs.items()})
    images = [Image(str(number), {}, 0, 0) for number in range(count)]
    (rows,) = reader.read({name: outputs[name] for name in reader.names}, images, [NONE])
    return [labels for _, labels in rows]


def refused(outputs: dict[str, NDArray[Any]], preprocessing: Preprocessing = RGB) -> str:
    with pytest.raises(UsageError) as caught:
        Classifier(preprocessing, INPUTS, outputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("shape", [(1, 1000), (1, 1000, 1, 1), (1, 1, 1, 1000), (1, 1, 1000)])
def test_axes_of_length_one_are_ignored(shape: tuple[int, ...]) -> None:
    assert best({"out": SCORES.reshape(shape)}) == [BEST]
    several = np.concatenate([SCORES[:, ::-1], SCORES, SCORES - 1]).reshape(3, *shape[1:])
    assert best({"out": several}, count=3) == [[999 - label for label in BEST], BEST, BEST]


def test_scores_of_one_image_may_lack_the_batch_axis() -> None:
    reader = Classifier(RGB, INPUTS, {"out": SCORES[0]})
    image = Image("0", {}, 0, 0)
    assert reader.read({"out": SCORES[0]}, [image], [NONE]) == [[("0", BEST)]]
    with pytest.raises(UsageError, match="give batch = 1"):
        reader.read({"out": SCORES[0]}, [image, image], [NONE])


def test_scores_are_recognised_among_other_outputs() -> None:
    assert best({"features": FEATURES, "out": SCORES, "label": np.array([3])}) == [BEST]
    assert Classifier(RGB, INPUTS, {"features": FEATURES, "out": SCORES}).note == (
        "the model's output out is read; features is ignored"
    )
    assert Classifier(RGB, INPUTS, {"out": SCORES}).note == ""
    quantised = (SCORES * 40).round().clip(-128, 127)
    assert best({"out": quantised.astype(np.int8)}) == best({"out": quantised})
    assert best({"out": (quantised + 128).astype(np.uint8)}) == best({"out": quantised})


def test_the_user_chooses_among_several_outputs_that_fit() -> None:
    outputs = {"logits": SCORES, "aux": SCORES[:, ::-1]}
    message = refused(outputs)
    assert "(logits float32 1x1000, aux float32 1x1000)" in message
    assert 'such as output = "logits"' in message
    assert best(outputs, replace(RGB, output="logits")) == [BEST]
    assert best(outputs, replace(RGB, output="aux")) == [[999 - label for label in BEST]]
    assert 'no numeric output called "probs": its outputs are logits float32' in refused(
        outputs, replace(RGB, output="probs")
    )
    boxes = {**outputs, "boxes": np.zeros((1, 7, 4), np.float32)}
    assert "(boxes float32 1x7x4) are not one score for each class" in refused(boxes, replace(RGB, output="boxes"))


def test_the_number_of_classes_distinguishes_scores_from_features() -> None:
    outputs = {"out": np.concatenate([SCORES, SCORES], axis=1), "features": SCORES}
    assert best(outputs) == [BEST]
    labels = (*[-1] * 1000, *range(1000))
    assert best(outputs, replace(RGB, labels=labels)) == [BEST]
    assert "features is read" in Classifier(RGB, INPUTS, outputs).note
    background = {"embedding": FEATURES, "out": np.concatenate([SCORES[:, :1] + 9, SCORES], axis=1)}
    assert best(background) == [BEST]
    assert (
        "the first of the model's 1,001 classes is read as the background" in Classifier(RGB, INPUTS, background).note
    )
    assert "background" not in Classifier(replace(RGB, class_offset=1), INPUTS, background).note


def test_predicted_classes_are_not_scores() -> None:
    message = refused({"class": np.array([[7]], np.int64)})
    assert "(class int64 1x1) are not one score for each class" in message
    assert "predict with any other model yourself and give --predictions" in message
    assert "not one score" in refused({"ranks": np.arange(1000)[None]})


def test_keys_of_other_kinds_of_models_are_refused() -> None:
    with pytest.raises(UsageError, match='upsample = "nearest" is for Cityscapes shards'):
        kind_for("imagenet", replace(RGB, upsample="nearest"))
    with pytest.raises(UsageError, match='output = "a" is not for detectors'):
        kind_for("coco", replace(RGB, output="a", head="yolox"))
    with pytest.raises(UsageError, match="labels has the label 7 more than once"):
        kind_for("imagenet", replace(RGB, labels=(7, -1, 8, -1, 7)))


def test_a_large_label_space_is_read_by_its_synsets(tmp_path: Path) -> None:
    """As in lists of ImageNet-21k: sorted, including the thousand, with or without names."""
    model = tmp_path / "m.onnx"
    model.write_bytes(b"")
    stated = 'mean = [0, 0, 0]\nstd = [1, 1, 1]\nscale = 1\nchannels = "rgb"\nlayout = "nchw"\nlabels = "ids.txt"\n'
    model.with_suffix(".toml").write_text(stated)
    others = {f"n{number:08d}" for number in range(2, 20_802_000, 1000)} - label_by_synset().keys()
    synsets = sorted({*others, *label_by_synset()})
    (tmp_path / "ids.txt").write_text("\n".join(f"{synset} some, name" for synset in synsets) + "\n\n", "utf-8-sig")
    preprocessing = read_preprocessing(model, {})
    assert preprocessing.labels is not None
    kind_for("imagenet", preprocessing)
    assert [label for label in preprocessing.labels if label >= 0] == list(range(1000))  # the order of sorted synsets
    scores = np.zeros((1, len(synsets)), np.float32)
    scores[0, synsets.index("n01440764")], scores[0, synsets.index("n15075141")] = 2, 1  # the first, and the last
    scores[0, synsets.index(min(others))] = 3
    assert best({"out": scores}, preprocessing)[0][:2] == [0, 999]
    reader = Classifier(preprocessing, INPUTS, {"out": scores})
    assert reader.note == f"1,000 of the model's {len(synsets):,} classes are ImageNet's"
    fewer = replace(preprocessing, labels=tuple(label if label < 990 else -1 for label in preprocessing.labels))
    assert "images of the other 10 cannot be predicted right" in Classifier(fewer, INPUTS, {"out": scores}).note
    (tmp_path / "ids.txt").write_text("n01440764\nn0144076\n")
    with pytest.raises(UsageError, match=r"ids.txt, line 2: 'n0144076' is neither a label from -1 \(none\) to 999 nor"):
        read_preprocessing(model, {})
    (tmp_path / "ids.txt").write_text("\n")
    with pytest.raises(UsageError, match=r"ids.txt is empty"):
        read_preprocessing(model, {})


def test_outputs_that_are_not_read_may_contain_anything(shards: Shards, tmp_path: Path) -> None:
    nothing = np.full((1, 64), np.nan, np.float32)
    model = constant_model(tmp_path / "m.onnx", [nothing, SCORES], (1, 3, "h", "w"))
    predict_plain(shards.only([]), model, RGB, tmp_path / "out")
    with pytest.raises(UsageError, match="gives NaN for 48 of 48 images"):
        predict_plain(shards.only([]), model, replace(RGB, output="out0", labels=tuple(range(64))), tmp_path / "nan")


def test_dictionaries_are_not_read(tmp_path: Path) -> None:
    """scikit-learn's converters output probabilities as dictionaries."""
    model = onnx.load(colour_model(tmp_path / "m.onnx", np.ones((3, 1000), np.float32)))
    model.graph.node.append(helper.make_node("ArgMax", ["out"], ["label"], axis=1))
    zipped = helper.make_node("ZipMap", ["out"], ["zipped"], domain="ai.onnx.ml", classlabels_int64s=range(1000))
    model.graph.node.append(zipped)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    of_maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    model.graph.output.append(helper.make_value_info("zipped", of_maps))
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, None))
    onnx.save(model, tmp_path / "m.onnx")
    session = open_session(as_it_is(tmp_path / "m.onnx"), "nchw", "cpu")
    assert list(session.run(np.zeros((1, 3, 4, 4), np.float32))) == ["out", "label"]
    del model.graph.output[0]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"puts out zipped seq\(map\(int64,tensor\(float\)\)\).*zipmap=False"):
        open_session(as_it_is(tmp_path / "m.onnx"), "nchw", "cpu")
