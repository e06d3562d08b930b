"""git-theta: version machine learning models with git.

This package is the kernel. It knows git, packs and digests; it knows no framework. Everything that
reads or writes a checkpoint, encodes numbers or keeps packs is found through the hooks in
:mod:`git_theta.hookspecs`.
"""

__version__ = "1.0.0"
