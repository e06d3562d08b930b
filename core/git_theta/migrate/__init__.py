"""Whole histories into git-theta and out of it: rewritten, compared, and only then put in place."""
