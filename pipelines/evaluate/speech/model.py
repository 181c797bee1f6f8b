"""A speech model in ONNX Runtime, on a CPU: mels or ids of one recording in, a spectrogram or a waveform out.

Each run keeps to one thread, and as many runs as there are workers go on at a time, so that sums are made in one order
whatever their number.
"""

from __future__ import annotations

from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Noised
from pipelines.evaluate.model.runtimes.onnx import cpu_session
from pipelines.evaluate.speech.signature import Array, Gives, Value, gives, takes
from pipelines.text import first_line


class SpeechModel:
    """A model that is ready to run, in as many threads at a time as call it; a set's spectrograms have so many `bands`.

    Raises UsageError where its file is no model, or takes what no recording gives.
    """

    def __init__(self, model: Noised, bands: int) -> None:
        self.name, self._bands = model.path.name, bands
        self._session, self._running = cpu_session(model.path, model.config)
        self.takes = takes(self.name, [_value(one) for one in self._session.get_inputs()], bands)

    def told(self, values: Array) -> Gives:
        """What is read of its outputs, by those for a first recording. Raises UsageError as `run` does."""
        return gives(self.name, self._outputs(values, None), self._bands)

    def run(self, values: Array, read: Gives) -> Array:
        """A spectrogram (bands, frames) or samples (n,), float64, for a spectrogram (bands, frames) or ids (length,).

        Raises UsageError where the model fails, or gives what is no finite number.
        """
        (output,) = self._outputs(values, [read.name]).values()
        found = read.read(output)
        if not found.size:
            raise UsageError(f"{self.name} gives an empty {read.name}")
        return found

    def stop(self) -> None:
        """End what is running in other threads; nothing can be run any more."""
        self._running.terminate = True

    def _outputs(self, values: Array, names: list[str] | None) -> dict[str, Array]:
        feed = self.takes.feed(values)
        names = names or [one.name for one in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, feed, self._running), strict=True))
        except Exception as error:  # onnxruntime's errors have no class of their own in common
            shapes = ", ".join(f"{name} {'×'.join(map(str, array.shape))}" for name, array in feed.items())
            raise UsageError(f"{self.name} failed on {shapes} ({first_line(error)})") from None


def _value(one: Any) -> Value:
    return Value(one.name, one.type, one.shape)
