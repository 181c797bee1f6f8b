"""Noise of sound: one module for each library, imported only when one of its methods is used.

Nothing here opens a file. Every resampler takes and returns samples, every STFT takes samples and returns a log-mel
spectrogram, as `settings` has both. What a library cannot make of a recording is a ValueError with its reason, in one
line. Each computes in one thread, so that results do not depend on how many there are.
"""
