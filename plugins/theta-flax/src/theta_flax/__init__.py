"""Flax's and Orbax's files for git-theta: found and spliced without jax, written anew through flax.

msgpack is read item by item (:mod:`packed`), its arrays are named by where they hang (:mod:`walk`).
Orbax's arrays are chunks of zarr (:mod:`zarr`), in files of their own or in a store (:mod:`ocdbt`).
"""

__version__ = "1.0.0"
