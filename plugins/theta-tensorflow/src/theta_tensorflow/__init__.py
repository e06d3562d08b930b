"""TensorFlow for git-theta: registered with the kernel, offers no format yet.

Until it does, the kernel stores TensorFlow's files byte-exactly as unknown files.
"""

__version__ = "1.0.0"
