"""Arrays of zarr, versions 2 and 3, as Orbax and tensorstore lay them out."""
