"""The guides and the README, run."""
