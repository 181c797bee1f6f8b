"""Shards and predictions in; metrics, and a report, out."""
