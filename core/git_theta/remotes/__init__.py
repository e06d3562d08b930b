"""Stores of git remotes: which packs commits need, who has them, how they get there and back."""
