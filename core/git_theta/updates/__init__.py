"""Update types: how a stored buffer relates to earlier ones. One file a type."""
