"""Sound noise: one module for each library, imported only when one of its methods is used.

Nothing here opens a file. Resamplers turn samples into samples, STFTs turn samples into a log-mel spectrogram
(`settings` defines both). If a library cannot process a recording, that is a ValueError with its reason in one line.
Each computes in a single thread, so results do not depend on the number of threads.
"""
