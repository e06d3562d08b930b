"""A pickle machine that runs nothing: opcodes in, inert stand-ins out. Knows nothing of torch."""
