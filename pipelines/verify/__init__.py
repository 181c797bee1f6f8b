"""Checking finished sets: every byte against the manifests, for `verify.py` and before a push, and every pixel by
rendering it again.
"""
