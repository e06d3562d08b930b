"""Flax and Orbax files for git-theta: found and spliced without jax, written anew through flax.

msgpack is read item by item (:mod:`packed`), its arrays are named by where they hang (:mod:`walk`).
"""

__version__ = "1.0.0"
