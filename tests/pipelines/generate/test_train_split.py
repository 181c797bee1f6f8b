"""Sets to train on: how their shards are named, rows with drawn methods, and what reads them."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import score
from generators.draw import mixes
from generators.mix import Mix
from generators.variant import parse
from manifests.canonical import canonical_json
from manifests.derive import derive, read_records
from manifests.images import COLUMNS
from manifests.schema import SUMMARY, TABLE, ManifestError, Record, parse_summary
from manifests.verify import check_folder, check_tar, records_in
from pipelines.errors import UsageError
from pipelines.generate.again import Again, config_of, render_again
from pipelines.generate.card import card
from pipelines.generate.config import ImageConfig, describe
from pipelines.generate.existing import recorded
from pipelines.generate.output import Output
from pipelines.generate.shard import Job, Task, make_shard
from pipelines.generate.sources.find import Found, find
from pipelines.options import Inputs
from pipelines.shards import open_shards
from pipelines.store import Disk
from tests.generators.documented import PAPER_RESIZE
from tests.machine import recipe_here
from tests.pipelines.evaluate.conftest import write_predictions, wrong_in
from tests.steps import result_of

NAMES = ["train-00000-of-00002", "train-00001-of-00002"]
# Two classes, with their labels.
SYNSETS = {"n01440764": 0, "n03888257": 701}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, bytes]) -> Found:
    """Six images in two class folders."""
    folder = tmp_path_factory.mktemp("source") / "train"
    for place, data in enumerate([*photographs.values()][:6]):
        synset = [*SYNSETS][place % 2]
        (folder / synset).mkdir(parents=True, exist_ok=True)
        Image.open(io.BytesIO(data)).convert("RGB").resize((64, 48)).save(folder / synset / f"{synset}_{place}.JPEG")
    return find("imagenet", Inputs(str(folder)), None, split="train")


@pytest.fixture(scope="module")
def config(found: Found) -> ImageConfig:
    return ImageConfig("imagenet", "crop", (16,), "", "png", 3, describe(found), split="train", draws=mixes(7))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, found: Found, config: ImageConfig) -> Path:
    """The dataset's folder: the reference, `mix_resize` and `mix`, each in two shards of three images."""
    variants = (config.base, *(parse(text, config.base, config.known) for text in ("mix_resize", "mix")))
    recipes = {variant.name: recipe_here(config, variant) for variant in variants}
    root = Disk(str(tmp_path_factory.mktemp("made") / "imagenet"))
    with Output(root, split=config.split).locked() as output:
        output.begin(recipes, overwrite=False)
        job = Job(config, found.source, output, recipes)
        for shard in (0, 1):
            result_of(make_shard(Task(shard, 2, found.samples[shard * 3 : shard * 3 + 3], variants), job, {}))
        summaries = [output.finish(recipe, 2) for recipe in recipes.values()]
        output.write(root / "README.md", card("imagenet", summaries))
    return Path(root.path)


@pytest.fixture
def mixed(made: Path, tmp_path: Path) -> Path:
    """A copy of `mix_resize`."""
    shutil.copytree(made / "mix_resize", tmp_path / "mix_resize")
    return tmp_path / "mix_resize"


def test_shards_cards_and_descriptions_name_the_split(made: Path) -> None:
    files = {f"{name}.{suffix}" for name in NAMES for suffix in ("json", "tar")}
    assert {path.name for path in (made / "mix_resize").iterdir()} == files | {SUMMARY, TABLE, "_info.json"}
    (split,) = json.loads((made / "mix_resize" / "_info.json").read_text())["splits"].values()
    assert (split["name"], split["num_samples"], split["shard_lengths"]) == ("train", 6, [3, 3])
    text = (made / "README.md").read_text()
    assert '- split: train\n    path: "mix_resize/train-*.tar"' in text
    assert "Training images of `imagenet`" in text


def test_labels_are_the_folders_and_the_table_names_what_was_drawn(made: Path) -> None:
    rows = pq.read_table(made / "mix_resize" / TABLE).to_pylist()
    mix = Mix(resize=PAPER_RESIZE, seed=7)
    for row in rows:
        assert row["label"] == SYNSETS[row["key"].partition("_")[0]]
        assert row["resize"] == mix.draw(row["key"]).resize
    assert pq.read_schema(made / "pil_bilinear" / TABLE).equals(COLUMNS)


def test_it_can_be_checked_and_rendered_again(made: Path, found: Found) -> None:
    for variant in ("pil_bilinear", "mix_resize"):
        folder = Disk(str(made / variant))
        assert check_folder(folder) == []
        for shard, place in enumerate(records_in(folder)):
            assert check_tar(place) == []
            again = Again(place, found.samples[shard * 3 : shard * 3 + 3], found.source, gpu=False)
            assert result_of(render_again(again)) == []


def test_it_is_scored_like_any_other_set(made: Path, tmp_path: Path) -> None:
    shards = open_shards(made)
    truth = dict(zip(*shards.samples(), strict=True))
    wrong = {"pil_bilinear": (), "mix_resize": (0, 2, 4), "mix_decode+mix_resize": (1,)}
    predictions = write_predictions(tmp_path / "predictions", {name: wrong_in(truth, at) for name, at in wrong.items()})
    words = ["--shards", made, "--predictions", predictions, "--output", tmp_path / "report"]
    assert score.main([*map(str, words)]) == 0
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    deltas = {name: line["delta"] for name, line in results["variants"].items()}
    assert deltas == pytest.approx({name: 100 * len(at) / 6 for name, at in wrong.items()})
    assert (results["stages"]["resize"]["worst"], results["stages"].keys()) == ("mix_resize", {"resize"})
    assert shards.changed_stages("mix_decode+mix_resize") == ("decode", "resize")


def test_further_variants_are_made_with_the_same_seed(made: Path) -> None:
    shards = open_shards(made)
    words = shards.command(["mix_decode", "mix_decode+mix_resize"]).split()
    assert words[words.index("--split") + 1] == "train"
    assert words[words.index("--seed") + 1] == "7"
    assert "--seed" not in shards.command(["pil_box"])


def test_a_set_has_one_split(made: Path, mixed: Path, config: ImageConfig) -> None:
    shutil.copy(mixed / f"{NAMES[0]}.tar", mixed / "validation-00000-of-00002.tar")
    assert "validation-00000-of-00002.tar: extra file" in " ".join(map(str, check_folder(Disk(str(mixed)))))
    other = replace(config, split="validation")
    with Output(Disk(str(made))).locked() as output, pytest.raises(UsageError, match=r'config.split: "train" → null'):
        output.begin({"pil_bilinear": recipe_here(other, other.base)}, False, recorded(output))


def test_an_unknown_split_is_refused(mixed: Path) -> None:
    """It becomes part of file names."""
    for name, parse_it in ((f"{NAMES[0]}.json", Record.from_bytes), (SUMMARY, parse_summary)):
        for split in ("test", "../../train", None, 1, ["train"]):
            value = json.loads((mixed / name).read_text())
            value.get("recipe", value)["config"]["split"] = split
            with pytest.raises(ManifestError, match=r"config\.split"):
                parse_it(canonical_json(value), name)


@pytest.mark.parametrize("token", [None, 1, ["pil_box"]])
def test_a_draw_that_is_not_text_is_in_no_table(mixed: Path, token: object) -> None:
    """The first record decides the columns; a record without such a draw has nulls."""
    for number, columns in ((0, set(COLUMNS.names)), (1, {*COLUMNS.names, "resize"})):
        place = mixed / f"{NAMES[number]}.json"
        held = place.read_bytes()
        value = json.loads(held)
        value["rows"]["extra"][0]["resize"] = token
        place.write_bytes(canonical_json(value))
        table = pq.read_table(io.BytesIO(derive(read_records(records_in(Disk(str(mixed))))).table))
        assert set(table.column_names) == columns
        assert number == 0 or table["resize"].null_count == 3
        place.write_bytes(held)


def test_the_configuration_can_be_read_from_a_record(made: Path, config: ImageConfig) -> None:
    recipe = Record.read(records_in(Disk(str(made / "mix_resize")))[0]).recipe
    again = config_of(recipe)
    assert (again.as_json(), again.asked()["split"]) == (config.as_json(), "train")
    assert recipe.config["split"] == "train"
