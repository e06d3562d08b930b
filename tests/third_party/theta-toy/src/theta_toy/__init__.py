"""A plugin of somebody else: one thing for each hook of git-theta."""
