"""tensorstore's key-value store of a few files, OCDBT, in which Orbax keeps arrays of zarr."""
