"""URLs of object stores. What they need beside the URL comes from the environment alone.

A URL names a place and nothing else: no user, no password, no options. So what a repository
suggests can never choose credentials, nor what is trusted.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from git_theta.errors import MissingPluginError, StoreError
from git_theta.storage.interface import Store, StoreType

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

SCHEMES = {
    "s3": "s3://BUCKET/PREFIX",
    "gs": "gs://BUCKET/PREFIX",
    "az": "az://CONTAINER/PREFIX",
    "http": "http://HOST/FOLDER",
    "https": "https://HOST/FOLDER",
}
"""The schemes, each with what a URL looks like."""

_URL = re.compile(r"([a-z0-9]+)://([A-Za-z0-9][A-Za-z0-9._:-]*)((?:/[A-Za-z0-9._~%+=-]+)*)/?")

_RETRY: RetryConfig = {
    "max_retries": 6,
    "retry_timeout": timedelta(minutes=2),
    "backoff": {
        "init_backoff": timedelta(milliseconds=200),
        "max_backoff": timedelta(seconds=10),
        "base": 2,
    },
}


class ObjectStoreType(StoreType):
    """Opens the URLs of one scheme."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme

    def open(self, url: str) -> Store:
        """Open a store; nothing is asked yet.

        Raises
        ------
        StoreError
            When the URL is not valid, or the environment's settings are not.
        MissingPluginError
            When obstore is not installed.
        """
        found = _URL.fullmatch(url)
        parts = url.partition("://")[2].split("/")
        if not found or found[1] != self.scheme or {".", ".."} & set(parts):
            raise StoreError(
                f"Expected {SCHEMES[self.scheme]} without user, password and options, found {url!r}"
            )
        backend = self._backend(url)  # first: without obstore the next line is no help to anybody
        from theta_objectstore.store import ObjectStore

        return ObjectStore(url, backend, in_parts=not self.scheme.startswith("http"))

    def _backend(self, url: str) -> Any:
        try:
            from obstore.exceptions import BaseError
            from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store
        except ImportError as fault:
            raise MissingPluginError(
                f"The store {url} needs obstore: {fault}",
                remedy="pip install 'git-theta[objectstore]'",
            ) from fault
        # A whole request may take long on a slow line; silence may not.
        client: ClientConfig = {
            "timeout": timedelta(minutes=15),
            "read_timeout": timedelta(seconds=60),
            "connect_timeout": timedelta(seconds=20),
            "allow_http": self.scheme == "http" or _allows_http(),
        }
        try:
            if self.scheme.startswith("http"):
                return HTTPStore(url, client_options=client, retry_config=_RETRY)
            kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
            return kinds[self.scheme].from_url(url, client_options=client, retry_config=_RETRY)
        except (BaseError, ValueError) as fault:
            raise StoreError(
                f"Cannot open the store {url}: {first_line(fault)}",
                remedy="Check the variables that tell the account: AWS_..., GOOGLE_..., AZURE_...",
            ) from fault


def _allows_http() -> bool:
    """Whether the user's environment chose an endpoint without encryption."""
    endpoints = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")
    if any(os.environ.get(name, "").startswith("http://") for name in endpoints):
        return True
    switches = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")
    return any(os.environ.get(name, "").lower() in ("1", "true") for name in switches)


def first_line(fault: BaseException) -> str:
    """What went wrong, without the debugging details that obstore adds."""
    return str(fault).split("\n", 1)[0].strip()
