"""The errors that git-theta raises, each leaf with an exit code of its own.

A message says what was expected and what was found; ``remedy`` is the last line a user reads: what
to do now. Nothing here prints; the command line and the filter do.
"""

from __future__ import annotations

import os


class ThetaError(Exception):
    """Base of every error that is meant for a user.

    Parameters
    ----------
    message
        What was expected, what was found, and where (checkpoint, parameter group, pack).
    remedy
        What the user can do about it; printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n{self.remedy}" if self.remedy else message


def describe(fault: OSError) -> str:
    """What the system refused, and for which file."""
    names = [os.fsdecode(name) for name in (fault.filename, fault.filename2) if name is not None]
    return ": ".join([*map(str, names), fault.strerror or str(fault)])


class CheckpointError(ThetaError):
    """A file looked like a checkpoint of some format and is malformed."""

    exit_code = 10


class FormatMismatch(CheckpointError):
    """A file is not of this format after all; the next format is asked, no warning is shown."""

    exit_code = 11


class LimitExceeded(CheckpointError):
    """A file claims more than the documented limits allow (sizes, depth, counts)."""

    exit_code = 12


class UpdateFileError(ThetaError):
    """An update that a user tells cannot be read, or does not fit the checkpoint."""

    exit_code = 13


class MetadataError(ThetaError):
    """Text that git stores in place of a file is not valid metadata."""

    exit_code = 20


class ConflictError(MetadataError):
    """Metadata still carries conflict markers."""

    exit_code = 21


class PackError(ThetaError):
    """A pack is corrupt, or does not hold what it should."""

    exit_code = 30


class MissingPackError(ThetaError):
    """A buffer is needed and no pack of the asked stores holds it."""

    exit_code = 31


class StoreError(ThetaError):
    """A store cannot be opened, read or written."""

    exit_code = 32


class FileChangedError(ThetaError):
    """A file was written to while it was being read."""

    exit_code = 33


class LocalChangesError(ThetaError):
    """A command would overwrite work that is not in git yet."""

    exit_code = 34


class PluginError(ThetaError):
    """A plugin is broken, or two distributions offer the same name."""

    exit_code = 40


class MissingPluginError(PluginError):
    """A format, serializer or update type is needed and no installed plugin offers it."""

    exit_code = 41


class GitError(ThetaError):
    """git said no, or answered in a way that was not expected."""

    exit_code = 50


class AttributesError(ThetaError):
    """A pattern cannot be tracked as asked (another driver owns it, it is not valid)."""

    exit_code = 51
