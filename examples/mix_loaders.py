"""Mix training in three loaders: PyTorch's own, `webdataset` and `datasets`. Copy the one that you use.

    python -m examples.mix_loaders pytorch TREE
    python -m examples.mix_loaders webdataset 'train-{000..146}.tar'
    python -m examples.mix_loaders datasets TREE

In each, torchvision's RandomResizedCrop draws a box for the size in a file's header, and the methods drawn for the file
decode it and resize the box. Make a new loader for each epoch, since its workers keep the epoch that they started with.
The keys decide what is drawn: keep them the same in each epoch.
"""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import RandomResizedCrop

from generators.mix import Box, Mix

MIX = Mix(
    decode=("pil", "opencv", "ffmpeg"),
    resize=("pil_nearest", "pil_bilinear", "pil_bicubic", "opencv_nearest", "opencv_bilinear", "opencv_bicubic"),
)
Sample = tuple[torch.Tensor, int]


def pixels(data: bytes, key: str, epoch: int) -> torch.Tensor:
    """A training crop of an encoded image: uint8 of shape (3, 224, 224)."""
    header = Image.open(io.BytesIO(data))  # without decoding
    box = Box(*RandomResizedCrop.get_params(header, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3]))
    return torch.from_numpy(MIX(data, 224, key=key, epoch=epoch, box=box)).permute(2, 0, 1)


class Photographs(Dataset[Sample]):
    """A tree of class folders, in one epoch."""

    def __init__(self, tree: str, epoch: int) -> None:
        self.files = sorted(Path(tree).glob("*/*"))
        self.classes = sorted({file.parent.name for file in self.files})
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        file = self.files[index]
        label = self.classes.index(file.parent.name)
        return pixels(file.read_bytes(), f"{file.parent.name}/{file.stem}", self.epoch), label


def by_pytorch(tree: str, epoch: int) -> Iterable[Sequence[torch.Tensor]]:
    """Batches of a tree of class folders."""
    return DataLoader(Photographs(tree, epoch), batch_size=64, shuffle=True, num_workers=2)


def of_webdataset(sample: Mapping[str, Any], epoch: int) -> Sample:
    """A sample of a tar; its members are not decoded yet."""
    return pixels(sample["jpg"], sample["__key__"], epoch), int(sample["cls"])


def by_webdataset(tars: str, epoch: int) -> Iterable[Sequence[torch.Tensor]]:
    """Batches of tars with a `jpg` and a `cls` for each sample."""
    import webdataset as wds

    samples = wds.WebDataset(tars, shardshuffle=100, seed=epoch, empty_check=False).shuffle(1000, seed=epoch)
    return DataLoader(samples.map(functools.partial(of_webdataset, epoch=epoch)), batch_size=64, num_workers=2)


def of_datasets(rows: Mapping[str, Sequence[Any]], epoch: int) -> dict[str, Sequence[Any]]:
    """Some rows; their images are not decoded yet."""
    files = [Path(image["path"]) for image in rows["image"]]
    made = [pixels(file.read_bytes(), f"{file.parent.name}/{file.stem}", epoch) for file in files]
    return {"image": made, "label": rows["label"]}


def by_datasets(tree: str, epoch: int) -> Iterable[Sequence[torch.Tensor]]:
    """Batches of a tree of class folders, read by `datasets`."""
    import datasets

    rows = datasets.load_dataset("imagefolder", data_dir=tree, split="train")
    rows = rows.cast_column("image", datasets.Image(decode=False))
    rows = rows.with_transform(functools.partial(of_datasets, epoch=epoch))
    for batch in DataLoader(rows, batch_size=64, shuffle=True, num_workers=2):
        yield batch["image"], batch["label"]


LOADERS = {"pytorch": by_pytorch, "webdataset": by_webdataset, "datasets": by_datasets}


def main() -> None:
    """Run two epochs of one of the loaders."""
    if len(sys.argv) != 3 or sys.argv[1] not in LOADERS:
        sys.exit(f"usage: python -m examples.mix_loaders {{{','.join(LOADERS)}}} PATH")
    for epoch in range(2):
        for images, labels in LOADERS[sys.argv[1]](sys.argv[2], epoch):
            print(f"epoch {epoch}: {tuple(images.shape)}, {images.dtype}, labels {sorted(set(labels.tolist()))}")


if __name__ == "__main__":
    main()
