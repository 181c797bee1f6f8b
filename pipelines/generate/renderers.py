"""Chooses the renderer for a configuration: images or recordings."""

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
    """The renderer for a shard's samples in some variants.

    `lethal` maps calls that must not be made to the reason; `tell` is called with each other call before it is made,
    and with None after it.
    """
    if isinstance(config, SpeechConfig):
        return SpeechRenderer(variants, config.base, config.mel, shard, lethal, tell)
    assert isinstance(config, ImageConfig)
    return Renderer(variants, config.base, config.geometry, config.size, config.image_format, shard, lethal, tell)
