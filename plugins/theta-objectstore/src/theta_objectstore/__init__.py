"""Object stores for git-theta: S3, Google Cloud Storage, Azure Blob Storage and plain HTTP.

Transfers are ``obstore``'s, which is imported when a store is opened and not before.
"""

__version__ = "1.0.0"
