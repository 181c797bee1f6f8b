"""From validation images to shards: sources → plan → shard (render, encode, tar, rows, commit) → engine."""
