"""Makes the spectrograms that scoring needs and the set lacks, at the set's sample rate or the one asked for."""

from __future__ import annotations

from functools import cached_property

from generators.audio.settings import MelSettings
from generators.variant import DEFAULT_OF_SPEECH, Variant
from pipelines.errors import UsageError
from pipelines.evaluate.making import Maker
from pipelines.generate.config import base_of_speech
from pipelines.generate.target import choose_mel
from pipelines.options import Target
from pipelines.shards import Shards


class SpeechMaker(Maker):
    """Makes variants of mel spectrograms."""

    @cached_property
    def base(self) -> Variant:
        choose_mel(self._options.target)  # refuses options for images
        return base_of_speech(self._reference, self.known)

    @property
    def settings(self) -> MelSettings:
        """The settings of the spectrograms to make."""
        return choose_mel(self._target)

    @property
    def _target(self) -> Target:
        if self._there:
            return Target(sample_rate=self._there["mel"]["rate"])
        return self._options.target

    @property
    def _reference(self) -> str:
        return str(self._there.get("reference", self._options.reference or DEFAULT_OF_SPEECH))

    def _check_target(self, shards: Shards) -> None:
        have, asked = shards.config["mel"]["rate"], self._options.target.sample_rate
        if asked not in (None, have):
            raise UsageError(
                f"{shards.root} has spectrograms for {have:,} Hz, not --sample-rate {asked}: leave that out, or give "
                "--shards another folder"
            )

    def _asked_reference(self, text: str, shards: Shards) -> Variant:
        return base_of_speech(text, shards.known)
