"""A speech model in ONNX Runtime, on a CPU: mels or ids of one recording in, a spectrogram or a waveform out.

Each run uses one thread, and each worker has a run, so that sums are added in the same order for any number of workers.
"""

from __future__ import annotations

from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Noised
from pipelines.evaluate.model.runtimes.onnx import cpu_session
from pipelines.evaluate.speech.signature import Array, Gives, Value, gives, takes
from pipelines.text import first_line


class SpeechModel:
    """A model that is ready to run, from any number of threads; `bands` is that of the set's spectrograms.

    Raises UsageError if the file is not a model, or takes inputs that a recording does not give.
    """

    def __init__(self, model: Noised, bands: int) -> None:
        self.name, self._bands = model.path.name, bands
        self._session, self._running = cpu_session(model.path, model.config)
        self.takes = takes(self.name, [_value(one) for one in self._session.get_inputs()], bands)

    def gives(self, values: Array) -> Gives:
        """Which output to read and how, from the outputs for a first recording. Raises UsageError as `run` does."""
        return gives(self.name, self._outputs(values, None), self._bands)

    def run(self, values: Array, read: Gives) -> Array:
        """A spectrogram (bands, frames) or samples (n,), float64, for a spectrogram (bands, frames) or ids (length,).

        Raises UsageError if the model fails, or its output is empty.
        """
        (output,) = self._outputs(values, [read.name]).values()
        found = read.read(output)
        if not found.size:
            raise UsageError(f"{self.name} returns an empty {read.name}")
        return found

    def stop(self) -> None:
        """Abort runs in other threads; the model cannot be used any more."""
        self._running.terminate = True

    def _outputs(self, values: Array, names: list[str] | None) -> dict[str, Array]:
        feed = self.takes.feed(values)
        names = names or [one.name for one in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, feed, self._running), strict=True))
        except Exception as error:  # ONNX Runtime's errors share no base class
            shapes = ", ".join(f"{name} {'×'.join(map(str, array.shape))}" for name, array in feed.items())
            raise UsageError(f"{self.name} failed on {shapes} ({first_line(error)})") from None


def _value(one: Any) -> Value:
    return Value(one.name, one.type, one.shape)
