"""zstd frames that are given back byte for byte: a frame is its content and a small recipe.

What a compressor emits is not specified, and changes with its version, so compressing again is no
way back. A recipe keeps the decisions that the compressor took (sequences, tables), and leaves out
what follows from them and the content. docs/spec/zstd-recipe-v1.md has the bytes; the format of
frames is RFC 8878's. For frames that git-theta itself makes, see :mod:`git_theta.zstd_frame`.
"""

from git_theta.frames.fold import fold
from git_theta.frames.recipe import content_size, frame_size
from git_theta.frames.unfold import Readable, unfold

__all__ = ["Readable", "content_size", "fold", "frame_size", "unfold"]
