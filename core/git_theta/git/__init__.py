"""All that speaks git: the filter, configuration, attributes, the index."""
