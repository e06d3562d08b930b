"""Reads the index of a TensorFlow checkpoint: which tensor lies where in which data file."""
