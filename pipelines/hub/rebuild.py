"""Rebuilds a published set from its manifests and the user's own source, and reports whether every pixel agrees.

So a set can be shared even if its images may not be passed on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from generators.registry import Method
from generators.variant import in_full
from manifests.derive import read_records
from manifests.mels import MELS, TOLERANCE
from manifests.row import Row
from manifests.schema import Record
from manifests.verify import records_of
from pipelines.errors import UsageError
from pipelines.generate.compare import check_methods, check_source, config_of, explain, seed_of
from pipelines.generate.config import describe, methods_of
from pipelines.generate.options import Options
from pipelines.generate.run import generate
from pipelines.generate.sources.find import find
from pipelines.generate.wording import wording
from pipelines.hub.client import Repo, quiet
from pipelines.hub.options import RebuildOptions
from pipelines.hub.published import Published, choose, fetch_manifests
from pipelines.store import Place, place_of

_SHOWN = 5


def rebuild(options: RebuildOptions) -> int:
    """Rebuild the requested variants, and compare; returns the exit status (1 if pixels differ)."""
    quiet()
    methods = methods_of(options.methods)
    repo = Repo(options.repo)
    revision = repo.commit(options.revision)
    with tempfile.TemporaryDirectory() as folder:
        names = choose(repo, revision, options.variants)
        found = [fetch_manifests(repo, revision, name, Path(folder)) for name in names]
        _generate(options, found, methods)
        output = place_of(options.output, "--output")
        return max([_compare(published, output, methods) for published in found])


def _generate(options: RebuildOptions, found: Sequence[Published], methods: tuple[Method, ...]) -> None:
    """Do what generate.py does, with the published configuration. Raises UsageError if the source is different."""
    recipe = found[0].recipe
    if any(published.recipe.config != recipe.config for published in found):
        raise UsageError("the variants were made with different configurations: rebuild them one at a time")
    check_methods((published.recipe for published in found), methods)
    config, seed = config_of(recipe, methods), seed_of(published.recipe for published in found)
    samples = recipe.config["source"].get("samples")
    check_source(recipe, dict(describe(find(config.dataset, options.inputs, samples, split=config.split))))
    generate(
        Options(
            variants=tuple(in_full(published.recipe.variant) for published in found),
            methods=options.methods,
            seed=seed,
            dataset=config.dataset,
            inputs=options.inputs,
            output=options.output,
            reference=config.reference,
            samples_per_shard=config.samples_per_shard,
            **config.asked(),
            limit=samples,
            cluster=options.cluster,
        )
    )


class _Difference(NamedTuple):
    key: str
    what: str


def _compare(published: Published, output: Place, methods: tuple[Method, ...]) -> int:
    """Print whether a variant's pixels agree with the published ones; returns 1 if they do not."""
    folder = output / published.dataset / published.name
    made = records_of(folder)[0]
    kind = published.recipe.kind
    differences = list(_differences(_rows(published.records()), _rows(read_records(made)), kind.digest))
    samples = published.summary["totals"]["samples"] + published.summary["totals"]["failed"]
    print()
    if not differences:
        pairs = zip(read_records(made), published.records(), strict=True)
        tars = all(mine.tar_sha256 == theirs.tar_sha256 for mine, theirs in pairs)
        bytes_too = "the tars are byte for byte the same" if tars else "the tars differ in other members"
        one = wording(published.dataset).one
        print(f"{published.name}: every {one} agrees, in all {samples:,} samples; {bytes_too}.")
        return 0
    print(f"{published.name}: {len(differences):,} of {samples:,} samples differ:")
    for difference in differences[:_SHOWN]:
        print(f"  {difference.key}: {difference.what}")
    if len(differences) > _SHOWN:
        print(f"  … and {len(differences) - _SHOWN:,} more")
    for reason in explain(published.recipe, methods):
        print(f"this machine differs from the one that made the published shards in {reason}")
    if kind is MELS:
        print(
            f"hashes do not show by how much: up to {TOLERANCE:g} is promised; verify.py --render measures it on shards"
        )
    return 1


def _rows(records: Iterable[Record]) -> Iterator[Row]:
    for record in records:
        yield from record.rows


def _differences(published: Iterable[Row], made: Iterable[Row], digest: str) -> Iterator[_Difference]:
    for theirs, mine in zip(published, made, strict=True):
        there, here = getattr(theirs, digest), getattr(mine, digest)
        if mine.status != theirs.status:
            yield _Difference(theirs.key, f"{mine.status} here ({mine.error or 'no error'}), {theirs.status} there")
        elif mine.source_sha256 != theirs.source_sha256:
            yield _Difference(theirs.key, "the source file is different")
        elif here != there:
            yield _Difference(theirs.key, f"different {digest} ({here[:12]} here, {there[:12]} there)")
