"""Which renderer a configuration needs: of images, or of recordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from generators.variant import Variant
from pipelines.generate.calls import Call
from pipelines.generate.config import Config, ImageConfig, SpeechConfig
from pipelines.generate.given import Renders
from pipelines.generate.render import Renderer
from pipelines.generate.speech.render import SpeechRenderer


def renderer(
    config: Config,
    variants: Sequence[Variant],
    shard: int,
    lethal: Mapping[Call, str] = MappingProxyType({}),
    tell: Callable[[Call | None], None] | None = None,
) -> Renders:
    """What renders samples of a shard for some variants.

    `lethal` are calls that are not made, with the reason; `tell` is told of those that are, before they are,
    and None after each.
    """
    if isinstance(config, SpeechConfig):
        return SpeechRenderer(variants, config.base, config.mel, shard, lethal, tell)
    assert isinstance(config, ImageConfig)
    return Renderer(variants, config.base, config.geometry, config.size, config.image_format, shard, lethal, tell)
