"""A small run of `examples/tent.py`: what it changes in a network, and what it writes.

Needs PyTorch and timm (requirements-timm.txt): skipped without them, except in CI.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import score
from examples import tent
from generators.registry import METHODS, PIXEL_STAGES
from pipelines.command import Parser
from pipelines.errors import UsageError
from pipelines.evaluate.model.named.pytorch import required
from pipelines.shards import UNKNOWN_LABEL, Samples, Shards
from tests.documents import commands, table
from tests.lazily import Lazily

LIBRARIES = ("torch", "torchvision", "timm", "safetensors")
MISSING = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
if MISSING and not os.environ.get("CI"):
    pytest.skip(f"not installed: {', '.join(MISSING)}", allow_module_level=True)

torch: Any = Lazily("torch")
timm: Any = Lazily("timm")
NAME = "test_resnet"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> Any:
    """A small, undecided network with batch norms."""
    torch.manual_seed(3)
    made = timm.create_model(NAME).eval()
    torch.nn.init.normal_(made.fc.weight, std=0.1)
    for name, weight in made.named_parameters():
        if "bn" in name and name.endswith(".weight"):
            torch.nn.init.ones_(weight)  # some start at 0, and would block gradients to earlier ones
    return made


@pytest.fixture(scope="module")
def checkpoint(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    required("safetensors.torch").save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def batch() -> Any:
    return torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def options(**given: Any) -> tent.Options:
    return tent.Options(NAME, "out", **given)


def test_scales_and_shifts_of_batch_norms_change_and_nothing_else(network: Any, batch: Any) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    adapted = tent.Tent(network, options(lr=0.1))
    adapted(batch)
    norms = {name for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert norms
    after = dict(adapted.network.named_parameters())
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {f"{norm}.{kind}" for norm in norms for kind in ("weight", "bias")}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1.0), ("adam", 0.01)])
def test_the_entropy_of_a_batch_falls(network: Any, batch: Any, optimizer: Any, lr: float) -> None:
    adapted = tent.Tent(network, options(optimizer=optimizer, lr=lr))
    entropies = [float(tent.entropy(adapted(batch)).mean()) for _ in range(4)]
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[-1] < entropies[0] - 0.02
    assert entropies[0] < np.log(1000)  # the entropy of a uniform guess


def test_a_batch_is_predicted_by_its_own_statistics_before_its_step(network: Any, batch: Any) -> None:
    with torch.no_grad():
        expected = timm.create_model(NAME)
        expected.load_state_dict(network.state_dict())
        expected = expected.train()(batch)  # it has no dropout
    adapted = tent.Tent(network, options(lr=0.1))
    assert torch.allclose(adapted(batch), expected, atol=1e-5)
    assert not torch.allclose(adapted(batch), expected, atol=1e-2)
    forgetful = tent.Tent(network, options(lr=0.1, episodic=True))
    assert torch.equal(forgetful(batch), forgetful(batch))


def test_each_image_is_in_one_batch_and_the_seed_decides_which() -> None:
    order = tent.batches(367, 64, 0)
    assert sorted(np.concatenate(order)) == list(range(367))
    assert {len(batch) for batch in order} == {61, 62}
    assert not np.array_equal(order[0], tent.batches(367, 64, 1)[0])


def run(shards: Shards, checkpoint: Path, output: Path, *words: str) -> int:
    given = ["--model", NAME, "--checkpoint", str(checkpoint), "--shards", str(shards.root), "--batch", "24"]
    return tent.main([*given, "--variant", "opencv,pil_nearest", "--output", str(output), *words])


def predictions(folder: Path) -> dict[str, str]:
    with open(folder, newline="", encoding="utf-8") as file:
        return {row["key"]: row["pred"] for row in csv.DictReader(file)}


def test_every_image_is_predicted_twice_and_can_be_scored(
    shards: Shards, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shards, checkpoint, tmp_path / "one", "--lr", "0.1") == 0
    *_, last = capsys.readouterr().out.split("python score.py ")
    assert score.main(last.split()) == 0
    keys = shards.samples().keys
    source, tented = (predictions(tmp_path / "one" / name / "pil_nearest.csv") for name in ("source", "tent"))
    assert list(source) == list(tented) == keys
    assert source != tented
    same = [(tmp_path / "one" / "tent" / f"{name}.csv").read_bytes() for name in ("opencv", "pil_bilinear")]
    assert same[0] == same[1]  # their pixels are the same

    assert run(shards, checkpoint, tmp_path / "again", "--lr", "0.1") == 0
    again = (tmp_path / "again" / "tent" / "pil_nearest.csv").read_bytes()
    assert again == (tmp_path / "one" / "tent" / "pil_nearest.csv").read_bytes()


def test_refusals_take_one_line(
    shards: Shards, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").mkdir()
    assert run(shards, checkpoint, tmp_path) == 2
    assert "already exists: give another --output" in capsys.readouterr().err
    with pytest.raises(UsageError, match="test_vit has no batch norms"):
        tent.Tent(timm.create_model("test_vit"), tent.Options("test_vit", "out"))
    with pytest.raises(SystemExit):
        run(shards, checkpoint, tmp_path / "new", "--lr", "-1")
    assert "'-1' is not a number of 0 or more" in capsys.readouterr().err


def test_without_labels_there_is_nothing_to_show(
    shards: Shards,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = shards.samples().keys
    monkeypatch.setattr(Shards, "samples", lambda _: Samples(keys, np.full(len(keys), UNKNOWN_LABEL)))
    assert run(shards, checkpoint, tmp_path / "new") == 2
    assert "has a label: generate it again with --labels" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_documented_figures_agree_and_the_command_is_one() -> None:
    page = "docs/helps.md"
    (command,) = [line.partition("examples.tent ")[2] for line in commands(page) if "examples.tent " in line]
    assert Parser(tent.Options).parse_args(command.split()).model == "tf_efficientnet_lite0"
    costs = table(page, "variant", "as it is", "with TENT")
    tokens = [row[0].strip("`") for row in costs]
    paper = {token for token, method in METHODS.items() if method.paper and method.stage in PIXEL_STAGES}
    assert {*tokens, "pil", "pil_bicubic"} == paper
    for number, (network, reference, *stages) in enumerate(table(page, "network"), 1):
        assert network == ("as it is", "with TENT")[number - 1]
        lost = {token: float(reference) - float(row[number]) for token, row in zip(tokens, costs, strict=True)}
        for stage, cell in zip(PIXEL_STAGES, stages, strict=True):
            own = [cost for token, cost in lost.items() if METHODS[token].stage == stage]
            stated = [float(figure) for figure in re.findall(r"[-.\d]+", cell.replace("−", "-"))]
            assert stated == pytest.approx([sum(own) / len(own), max(own)], abs=0.011)
