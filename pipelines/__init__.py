"""Moves data: from sources to shards, from shards to the Hub, from shards to scores."""
