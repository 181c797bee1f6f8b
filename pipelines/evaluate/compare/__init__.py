"""`score.py compare`: several models' reports side by side, and a leaderboard that anyone can check."""

from pipelines.evaluate.compare.run import compare

__all__ = ["compare"]
