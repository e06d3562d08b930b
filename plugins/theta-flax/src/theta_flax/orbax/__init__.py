"""Orbax checkpoints of a new structure, and what they keep of a template."""
