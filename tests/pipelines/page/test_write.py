"""When a page is written, what it leaves out, and what no page can be made of."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.page import apart, chosen, figures
from pipelines.page.figures import MOST_SAMPLES, Failure
from pipelines.page.html import LARGEST, html
from pipelines.page.write import page_of, write_page
from pipelines.shards import open_shards
from pipelines.store import Disk
from tests.conftest import Command
from tests.documents import read


@pytest.fixture
def copied(paged: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(paged, tmp_path / "out" / "imagenet"))


def photographs_in(page: bytes) -> int:
    return page.count(b"data:image/webp")


def test_the_same_set_has_the_same_page_and_is_not_measured_again(copied: Path) -> None:
    page = copied / "index.html"
    first = page.read_bytes()
    before = page.stat().st_mtime_ns
    assert write_page(Disk(str(copied)))
    assert page.stat().st_mtime_ns == before
    page.unlink()
    assert write_page(Disk(str(copied)))
    assert page.read_bytes() == first
    assert len(first) < LARGEST


def test_another_variant_makes_another_page(copied: Path) -> None:
    shutil.rmtree(copied / "ffmpeg")
    assert write_page(Disk(str(copied)))
    assert b'data-variant="ffmpeg"' not in (copied / "index.html").read_bytes()


def test_without_pictures_no_part_of_an_image_is_in_it(copied: Path, command: Command) -> None:
    page = copied / "index.html"
    assert photographs_in(page.read_bytes()) == 8
    done = command("verify.py", copied, "--page", "--no-pictures")
    assert done.returncode == 0, done.stderr
    assert f"{page} shows what differs and where" in done.stdout
    left = page.read_bytes()
    data = re.search(rb'id="data">(.*?)</script>', left, re.DOTALL)
    assert photographs_in(left) == 0
    assert data
    assert json.loads(data[1])["details"] == []
    assert b'id="matrix"' in left
    assert b"data:image/png" not in left  # eleven images were measured: too few for maps


def test_maps_of_enough_images_stay_without_pictures(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.page.html.FEWEST", 11)
    assert write_page(Disk(str(copied)), pictures=False)
    left = (copied / "index.html").read_bytes()
    assert photographs_in(left) == 0
    assert left.count(b"data:image/png") == 5


def test_more_variants_than_fit_are_refused(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.page.write.MOST_GROUPS", 5)
    (copied / "index.html").unlink()
    assert not write_page(Disk(str(copied)))
    assert "has more than 5 distinct variants" in capsys.readouterr().err


def test_a_page_made_without_pictures_stays_without_them_unless_they_are_asked_for(copied: Path) -> None:
    """score.py adds variants to a set, and cannot know how generate.py was called."""
    root, page = Disk(str(copied)), copied / "index.html"
    assert write_page(root, pictures=False)
    shutil.rmtree(copied / "ffmpeg")
    assert write_page(root, pictures=None)
    assert b'data-variant="ffmpeg"' not in page.read_bytes()
    assert photographs_in(page.read_bytes()) == 0
    assert write_page(root, pictures=True)
    assert photographs_in(page.read_bytes()) == 8
    shutil.rmtree(copied / "opencv")
    assert write_page(root, pictures=None)
    assert photographs_in(page.read_bytes()) == 8


def test_a_later_run_puts_no_pictures_back(generate: Command, command: Command, tmp_path: Path) -> None:
    words, page = ("--dataset", "sample", "--size", 16, "--output", tmp_path), tmp_path / "sample" / "index.html"
    generate("--variant", "reference,pil_box", "--no-pictures", *words)
    generate("--variant", "pil_nearest", *words)
    assert b'data-variant="pil_nearest"' in page.read_bytes()
    assert photographs_in(page.read_bytes()) == 0
    assert command("verify.py", tmp_path, "--page").returncode == 0
    assert photographs_in(page.read_bytes()) == 8


def test_a_damaged_tar_leaves_the_page_as_it_was_and_is_said(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (copied / "index.html").read_bytes()
    shutil.rmtree(copied / "opencv")
    tar = copied / "pil_nearest" / "validation-00000-of-00003.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    assert not write_page(Disk(str(copied)))
    assert (copied / "index.html").read_bytes() == before
    assert re.search(r"no page was written: .*pil_nearest.*run verify.py", capsys.readouterr().err)


@pytest.mark.parametrize("left", [["ffmpeg"], ["ffmpeg", "pil_nearest"]])
def test_a_set_without_its_reference_has_a_page(left: list[str], copied: Path) -> None:
    for folder in copied.iterdir():
        if folder.is_dir() and folder.name not in left:
            shutil.rmtree(folder)
    assert write_page(Disk(str(copied)))
    page = (copied / "index.html").read_text()
    assert ("There is nothing to compare yet" in page) == (len(left) == 1)
    assert "Where in the frame" not in page
    assert len(re.findall(r"<tr data-variant", page)) == len(left)


def test_a_frame_that_fits_no_memory_is_refused(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apart, "_MOST_BYTES", 6 * 48 * 48 * 3 - 1)
    shutil.rmtree(copied / "opencv")
    assert not write_page(Disk(str(copied)))
    assert "no page was written: photograph_00 is too large to be compared" in capsys.readouterr().err


def test_recordings_have_a_page(spoken: Path) -> None:
    page = (spoken / "out" / "speech" / "index.html").read_text()
    assert "Mel spectrograms" in page
    assert "MSE" in page
    assert photographs_in(page.encode()) == 6


def test_names_cannot_write_into_the_page(copied: Path) -> None:
    """Shards may come from anybody."""
    page = page_of(open_shards(copied), pictures=True)
    evil = "</script><script>alert(1)</script>"
    changed = replace(page.figures, failures=[Failure(evil, 1, evil, (evil,))])
    assert evil.encode() not in html(page._replace(figures=changed))


def test_reasons_that_have_no_room_are_counted(copied: Path) -> None:
    page = page_of(open_shards(copied), pictures=False)
    assert b"most frequent of" not in html(page)
    changed = replace(page.figures, failures=page.figures.failures[:1], reasons=1200)
    assert b"The 1 most frequent of 1,200 reasons." in html(page._replace(figures=changed))


def test_the_docs_give_the_page_s_numbers() -> None:
    text = " ".join(read("docs/page.md").split())
    assert f"below {LARGEST / 1e6:g} MB" in text
    assert f"at most {chosen._MOST}, evenly spaced" in text
    assert ("over eight shards" in text, chosen._SHARDS_ON_DISK) == (True, 8)
    assert ("eight images" in text, chosen.SHOWN) == (True, 8)
    assert ("beginnings of four." in text, chosen._SHARDS_IN_STORE) == (True, 4)
    assert ("twelve samples" in text, figures._MOST) == (True, 12)
    assert ("twelve most frequent reasons" in text, figures._REASONS) == (True, 12)
    assert ("ten million" in text, MOST_SAMPLES) == (True, 10_000_000)


def test_a_set_in_which_everything_failed_has_a_page(generate: Command, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no image")
    (tmp_path / "labels.txt").write_text("broken.jpg 3\n")
    words = ("--dataset", "imagenet", "--source", tmp_path / "images", "--labels", tmp_path / "labels.txt")
    done = generate("--variant", "reference,pil_box", *words, "--output", tmp_path / "out", status=1)
    assert "index.html" in done.stdout
    page = (tmp_path / "out" / "imagenet" / "index.html").read_text()
    assert "1 image failed" in page
    assert "broken" in page[page.index("What failed") :]
