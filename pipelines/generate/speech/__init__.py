"""Mel spectrograms of recordings: what is of speech alone in making a set, and is of images elsewhere."""
