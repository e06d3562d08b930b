"""Checkpoint formats: what finds parameter groups in files. One file a format."""
