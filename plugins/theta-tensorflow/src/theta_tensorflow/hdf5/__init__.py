"""Reads where the numbers of an HDF5 file lie, and nothing else of it; see HDF5's file format."""
