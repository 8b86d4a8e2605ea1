"""URLs and paths."""

import os
from urllib.parse import unquote, urljoin, urlsplit


def absolute(href: str, base: str) -> str:
    """The URL or absolute path that an href means in a document at `base`, itself a URL or a path."""
    if urlsplit(href).scheme == "file":
        return unquote(urlsplit(href).path)
    if "://" in href:
        return href
    if "://" in base:
        return urljoin(base, href)
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(base)), href))  # noqa: PTH100,PTH118,PTH120  pathlib would follow links or keep '..'


def is_url(href: str) -> bool:
    """It is read over HTTP."""
    return urlsplit(href).scheme in {"http", "https"}
