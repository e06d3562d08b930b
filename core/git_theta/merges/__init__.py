"""Merge strategies: how two values of a parameter group become one."""
