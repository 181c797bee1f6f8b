"""Mel spectrograms of recordings: the parts of making a set that are specific to speech."""
