"""Measures the project's claims about memory and speed. Nothing here decides whether a build passes."""
