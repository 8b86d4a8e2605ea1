"""The one way in which catalogues and tokens are asked for."""

from typing import Final

import requests
from pystac_client.stac_api_io import StacApiIO
from requests.adapters import HTTPAdapter
from urllib3 import Retry

TIMEOUT_S: Final = (10.0, 60.0)
"""To connect, and between two bytes of an answer: a search over a large area takes a catalogue tens of seconds."""
BACKOFF_S: Final = 1.0


def catalogue_io() -> StacApiIO:
    """What reads the JSON of catalogues, over HTTP with retries or from disk."""
    return StacApiIO(max_retries=retries(), timeout=TIMEOUT_S)


def session() -> requests.Session:
    """An HTTP session with the same retries."""
    with_retries = requests.Session()
    with_retries.mount("http://", HTTPAdapter(max_retries=retries()))
    with_retries.mount("https://", HTTPAdapter(max_retries=retries()))
    return with_retries


def retries() -> Retry:
    """Five more tries over half a minute, or when the server's Retry-After says.

    Every method is retried: a STAC search is a POST that changes nothing.
    """
    return Retry(
        total=5,
        backoff_factor=BACKOFF_S,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,
        respect_retry_after_header=True,
    )
