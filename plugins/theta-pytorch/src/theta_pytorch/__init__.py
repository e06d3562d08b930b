"""PyTorch files for git-theta: found and spliced without torch, written anew through torch.

A pickle is read by a machine of our own that builds inert stand-ins (:mod:`pickle_machine`), the
stand-ins are read as torch would (:mod:`storages`, :mod:`tensors`), named by where they hang in the
pickled object (:mod:`walk`), and laid over the file (:mod:`layout`). One file a format.
"""

__version__ = "1.0.0"
