"""An auto-encoder, a vocoder and a model of ids are run, and compared with plain ONNX Runtime and NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generators.audio.numpy import stft
from generators.audio.settings import MelSettings
from generators.variant import DEFAULT_OF_SPEECH
from pipelines.errors import RunError, UsageError
from pipelines.evaluate import making
from pipelines.evaluate.options import Options
from pipelines.evaluate.run import score
from pipelines.evaluate.speech.model import SpeechModel
from pipelines.evaluate.speech.signature import Gives, Value, gives, takes
from pipelines.generate import options as generate
from pipelines.options import Inputs, Noise, Target
from pipelines.store import Disk
from tests.pipelines.evaluate.speech.conftest import REFERENCE, make, mels_of
from tests.pipelines.evaluate.speech.models import BANDS, acoustic, autoencoder, save, vocoder

FRAMES = "frames"


def report(root: Path, model: Path, output: Path, *variants: str, **options: Any) -> dict[str, Any]:
    """The results.json of a model."""
    given = Options(shards=str(root), model=str(model), output=str(output), variants=variants, **options)
    assert score(given) == 0
    found: dict[str, Any] = json.loads((output / "results.json").read_text())
    return found


def mse(one: NDArray[Any], other: NDArray[Any]) -> float:
    both = min(one.shape[1], other.shape[1])
    return float(np.square(one[:, :both].astype(np.float64) - other[:, :both]).mean())


@pytest.mark.parametrize("turned", [False, True])
def test_an_autoencoder_is_compared_with_the_reference_s_mels(turned: bool, speech: Path, tmp_path: Path) -> None:
    model = autoencoder(tmp_path / "ae.onnx", turned=turned)
    found = report(speech, model, tmp_path / "r", "numpy_htk", "scipy_fourier", "fp16", "numpy_htk+int8")
    session = onnxruntime.InferenceSession(model)
    truth = mels_of(speech, REFERENCE)
    for name in (REFERENCE, "numpy_htk", "scipy_fourier"):
        given = {key: mel.T if turned else mel for key, mel in mels_of(speech, name).items()}
        outputs = {key: session.run(None, {"mel": mel[None]})[0][0] for key, mel in given.items()}
        own = [mse(out.T if turned else out, truth[key]) for key, out in outputs.items()]
        assert found["variants"][name]["mse"] == pytest.approx(np.mean(own), rel=1e-6)
    assert found["against"] == "reference"
    assert list(found["stages"]) == ["resample", "stft", "precision"]
    assert found["variants"]["fp16"]["delta"] != 0
    assert found["variants"]["numpy_htk+int8"]["stages"] == {
        "resample": "soxr_hq",
        "stft": "numpy_htk",
        "precision": "int8",
    }
    about = json.loads((tmp_path / "r" / "models" / "ae" / "int8.json").read_text())
    assert [one["key"] for one in about["calibration"]["recordings"]] == sorted(truth)


def test_a_vocoder_s_waveform_becomes_mels_by_the_reference_s_operator(speech: Path, tmp_path: Path) -> None:
    model = vocoder(tmp_path / "vocoder.onnx")
    found = report(speech, model, tmp_path / "r", "numpy_htk")
    session, settings, truth = onnxruntime.InferenceSession(model), MelSettings.of(16_000), mels_of(speech, REFERENCE)
    for name in (REFERENCE, "numpy_htk"):
        waves = {
            key: session.run(None, {"mel": mel[None]})[0].reshape(-1) for key, mel in mels_of(speech, name).items()
        }
        own = np.mean([mse(stft(wave, settings), truth[key]) for key, wave in waves.items()])
        assert found["variants"][name]["mse"] == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("suffix", [".jsonl", ".npz"])
def test_a_model_of_ids_is_compared_with_each_variant_s_mels(suffix: str, speech: Path, tmp_path: Path) -> None:
    table = np.linspace(-11, 1, 40)[:, None] + np.zeros((40, BANDS))
    truth = mels_of(speech, REFERENCE)
    ids = {key: np.abs(table[:, :1] - mel.mean(axis=0)).argmin(axis=0) for key, mel in truth.items()}
    given = tmp_path / f"ids{suffix}"
    if suffix == ".npz":
        np.savez(given, **ids)
    else:
        given.write_text("".join(f"{json.dumps({'key': key, 'ids': own.tolist()})}\n" for key, own in ids.items()))
    model = acoustic(tmp_path / "tts.onnx", table)
    found = report(speech, model, tmp_path / "r", "numpy_htk", "fp16", "numpy_htk+fp16", "stft", ids=str(given))
    assert found["against"] == "variant"
    for name in (REFERENCE, "numpy_htk", "numpy_hifigan"):
        own = [mse(table[ids[key]].T, mel) for key, mel in mels_of(speech, name).items()]
        assert found["variants"][name]["mse"] == pytest.approx(np.mean(own), rel=1e-5)
    kept = {path.name for path in (tmp_path / "r" / "predictions").glob("*.npz")}
    assert kept == {f"{REFERENCE}.npz", "fp16.npz"}
    assert any("the last such output, after rough" in note for note in found["notes"])


def test_a_killed_run_continues(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = autoencoder(tmp_path / "ae.onnx")
    whole = report(speech, model, tmp_path / "whole", "numpy_htk")
    calls, run = list[int](), SpeechModel.run

    def dies(self: SpeechModel, values: NDArray[Any], read: Gives) -> NDArray[Any]:
        calls.append(1)
        if len(calls) > 5:  # in the second shard of the reference
            raise KeyboardInterrupt
        return run(self, values, read)

    monkeypatch.setattr(SpeechModel, "run", dies)
    with pytest.raises(RunError, match="the same command continues"):
        report(speech, model, tmp_path / "r", "numpy_htk")

    def counts(self: SpeechModel, values: NDArray[Any], read: Gives) -> NDArray[Any]:
        calls.append(1)
        return run(self, values, read)

    calls.clear()
    monkeypatch.setattr(SpeechModel, "run", counts)
    found = report(speech, model, tmp_path / "r", "numpy_htk")
    assert found == whole
    assert len(calls) == 2 * 6 - 4  # the first shard's four were kept
    for name in (REFERENCE, "numpy_htk"):
        own, other = (tmp_path / folder / "predictions" / f"{name}.npz" for folder in ("whole", "r"))
        assert own.read_bytes() == other.read_bytes()
    calls.clear()
    assert report(speech, model, tmp_path / "r", "numpy_htk") == whole
    assert not calls
    with pytest.raises(UsageError, match="has predictions of another model"):
        report(speech, autoencoder(tmp_path / "ae.onnx", rank=3), tmp_path / "r", "numpy_htk")


def test_nan_outputs_are_a_finding_in_a_noised_model_and_an_error_in_the_model_itself(
    speech: Path, tmp_path: Path
) -> None:
    shape = ("batch", BANDS, FRAMES)
    large = {"large": np.array(1e5, np.float32), "small": np.array(1e-5, np.float32)}
    nodes = [helper.make_node("Mul", ["mel", "large"], ["x"]), helper.make_node("Mul", ["x", "small"], ["out"])]
    ends = [("mel", TensorProto.FLOAT, shape)], [("out", TensorProto.FLOAT, shape)]
    found = report(speech, save(tmp_path / "large.onnx", nodes, large, *ends), tmp_path / "r", "fp16", "numpy_htk")
    assert "NaN or infinity" in found["not_applicable"]["fp16"]
    assert set(found["variants"]) == {REFERENCE, "numpy_htk"}
    broken = save(tmp_path / "log.onnx", [helper.make_node("Log", ["mel"], ["out"])], {}, *ends)
    with pytest.raises(UsageError, match=r"log.onnx returns NaN or infinity in [\d,]+ values for phrase_1"):
        report(speech, broken, tmp_path / "s", "numpy_htk")


FLOAT, INT = "tensor(float)", "tensor(int64)"
MEL = Value("mel", FLOAT, ("batch", BANDS, FRAMES))
TAKES = {
    "an image": ([Value("input", FLOAT, (1, 3, 224, 224))], "takes input"),
    "other bands": ([Value("mel", FLOAT, (1, 64, FRAMES))], "takes mel"),
    "a speaker besides": ([MEL, Value("speaker", INT, (1,))], "takes speaker"),
    "scales besides": ([Value("ids", INT, (1, "n")), Value("scales", FLOAT, (3,))], "takes scales"),
    "nothing": ([], "takes nothing"),
    "a fixed length": ([Value("mel", FLOAT, (1, BANDS, 128))], "takes a fixed length of 128"),
    "a fixed length, turned": ([Value("mel", FLOAT, (1, 128, BANDS))], "takes a fixed length of 128"),
    "a batch": ([Value("mel", FLOAT, (4, BANDS, FRAMES))], "takes 4 recordings at a time"),
    "two ways": ([Value("mel", FLOAT, (1, BANDS, BANDS))], "can be bands × frames or frames × bands"),
}


@pytest.mark.parametrize("what", TAKES)
def test_inputs_that_a_recording_does_not_give_are_refused_by_name(what: str) -> None:
    inputs, words = TAKES[what]
    with pytest.raises(UsageError, match=words):
        takes("m.onnx", inputs, BANDS)


def test_lengths_and_other_layouts_are_fed() -> None:
    mel = np.arange(BANDS * 7, dtype=np.float32).reshape(BANDS, 7)
    lengths = Value("mel_lengths", "tensor(int32)", ("batch",))
    fed = takes("m.onnx", [Value("mel", "tensor(float16)", (1, FRAMES, BANDS)), lengths], BANDS).feed(mel)
    assert (str(fed["mel"].dtype), fed["mel"].shape, fed["mel_lengths"].tolist()) == ("float16", (1, 7, BANDS), [7])
    np.testing.assert_array_equal(fed["mel"][0].T, mel.astype(np.float16))
    fed = takes("m.onnx", [Value("ids", INT, ("n",)), Value("ids_lengths", INT, ())], BANDS).feed(np.array([3, 1, 2]))
    assert (fed["ids"].tolist(), fed["ids_lengths"].shape, int(fed["ids_lengths"])) == ([3, 1, 2], (), 3)


def test_outputs_are_recognised_by_their_shapes() -> None:
    mel, gate = np.zeros((1, 9, BANDS), np.float32), np.zeros((1, 9), np.float32)
    found = gives("m.onnx", {"mel": mel, "postnet": mel + 1, "gate": gate}, BANDS)
    assert (found.what, found.name, found.others, found.turned) == ("mels", "postnet", ["mel"], True)
    found = gives("m.onnx", {"wave": np.zeros((1, 1, 2000), np.float32), "counts": np.zeros(1, np.int64)}, BANDS)
    assert (found.what, found.read(np.ones((1, 1, 2000))).shape) == ("waveform", (2000,))
    for outputs in ({"x": np.zeros((1, 64, 9), np.float32)}, {"a": gate, "b": gate}, {"a": gate.astype(np.int64)}):
        with pytest.raises(UsageError, match="neither one waveform nor mels of 80 bands"):
            gives("m.onnx", outputs, BANDS)
    with pytest.raises(UsageError, match="can be bands × frames or frames × bands"):
        gives("m.onnx", {"mel": np.zeros((1, BANDS, BANDS), np.float32)}, BANDS)


def test_options_that_do_not_fit_the_model_are_refused_before_it_runs(speech: Path, tmp_path: Path) -> None:
    mels, ids = autoencoder(tmp_path / "ae.onnx"), acoustic(tmp_path / "tts.onnx", np.zeros((4, BANDS)))
    file = tmp_path / "ids.jsonl"
    file.write_text('{"key": "phrase_1", "ids": [1, 2]}\n')
    refused: list[tuple[Path, dict[str, Any], str]] = [
        (tmp_path / "none.onnx", {}, "is not a file"),
        (ids, {}, "give --ids FILE"),
        (mels, {"ids": str(file)}, "--ids is for models that take ids"),
        (ids, {"ids": str(file)}, "lacks 5 of 6 recordings"),
        (mels, {"variants": ("ceil_mode",)}, "for speech, the only noise of models is precision"),
        (mels, {"variants": ("numpy_espnet",)}, "is not in .* generate.py --variant numpy_espnet --dataset speech"),
        (mels, {"variants": ("int8",), "noise": Noise(calibration=7)}, "--calibration 7 needs more than the set's 6 "),
        (
            mels,
            {"inputs": Inputs(str(tmp_path)), "target": Target(sample_rate=22_050)},
            "has spectrograms for 16,000 Hz",
        ),
    ]
    for model, options, words in refused:
        with pytest.raises(UsageError, match=words):
            score(Options(shards=str(speech), model=str(model), output=str(tmp_path / "r"), **options))
    for content, words in (
        ("[1]", "line 1 has no key"),
        ('{"key": "a", "ids": [0.5]}', "a has no list"),
        ("\xff", "give"),
        ('{"key": "a", "ids": [2147483648]}', "a has no list"),
        ("[" * 100_000, "give"),
        ("PK\x03\x04 is no archive", "not a zip file"),
    ):
        file.write_text(content, encoding="latin-1")
        with pytest.raises(UsageError, match=words):
            report(speech, ids, tmp_path / "r", ids=str(file))


def test_missing_variants_are_made_from_the_source(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = list[generate.Options]()

    def made(options: generate.Options, ray: object) -> SimpleNamespace:
        """Does what generate.py does, in this process."""
        asked.append(options)
        tokens, rate = options.variants[1:], options.target.sample_rate
        assert rate
        make(Path(options.output), options.inputs, tokens, rate, per_shard=4, limit=options.limit)
        return SimpleNamespace(summaries=[], root=Disk(options.output) / "speech")

    monkeypatch.setattr(making, "make", made)
    model, root = autoencoder(tmp_path / "ae.onnx"), tmp_path / "out" / "speech"
    source = Inputs(str(speech.parent / "source"))
    words: dict[str, Any] = {"inputs": source, "limit": 2, "target": Target(sample_rate=16_000)}
    plan = Options(shards=str(root), model=str(model), variants=("numpy_htk",), dry_run=True, **words)
    assert (score(plan), asked) == (0, [])
    assert "spectrograms to make: numpy_htk, numpy_stft" in capsys.readouterr().out
    found = report(root, model, tmp_path / "r", "numpy_htk", **words)
    (options,) = asked
    assert (options.dataset, options.reference, options.image_format) == ("speech", DEFAULT_OF_SPEECH, None)
    assert (options.inputs, options.limit, options.target.sample_rate) == (source, 2, 16_000)
    assert found["n"] == 2
    for name in ("numpy_htk", REFERENCE):
        mels, there = mels_of(root, name), mels_of(speech, name)
        assert all(np.array_equal(mel, there[key]) for key, mel in mels.items())
    assert report(root, model, tmp_path / "r", "numpy_htk", **words) == found
    with pytest.raises(UsageError, match="--source has others"):
        report(root, model, tmp_path / "r", "numpy_htk", **{**words, "limit": 3})
