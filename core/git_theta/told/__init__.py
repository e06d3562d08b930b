"""Updates that a user tells: factors or values in a file, of which only they are stored."""
