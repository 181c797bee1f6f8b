"""Turns shards and predictions into metrics and a report."""
