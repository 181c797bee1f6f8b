"""`score.py compare`: several models' reports side by side, and a leaderboard of them that anybody can check."""

from pipelines.evaluate.compare.run import compare

__all__ = ["compare"]
