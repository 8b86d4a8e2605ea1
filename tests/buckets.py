"""A bucket behind HTTP, as S3 has it, on a port of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from moto.server import ThreadedMotoServer


@contextmanager
def bucket(name: str) -> Iterator[str]:
    """URL of a new bucket; the environment tells, in the words of AWS, where it is and who may use it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ALLOW_HTTP", "true")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        # Buckets are of the process, and outlive the server of an earlier test.
        requests.post(f"{endpoint}/moto-api/reset", timeout=10).raise_for_status()
        requests.put(f"{endpoint}/{name}", timeout=10).raise_for_status()
        try:
            yield f"s3://{name}"
        finally:
            server.stop()
