"""A load client of one's own, for `benchmark: {kind: script}`: it asks one thing and prints metrics as JSON.

examples/own_metric.yaml uses it to tune for a metric that no load client has: how long the server takes to list its
models, as a stand-in for whatever matters to you.
"""

import json
import sys
import time
import urllib.request


def main(url: str, requests: int) -> None:
    """Print the mean time of so many requests, in milliseconds."""
    began = time.perf_counter()
    for _ in range(requests):
        with urllib.request.urlopen(f"{url}/v1/models") as reply:  # noqa: S310  the tuner's own server on loopback
            reply.read()
    print(json.dumps({"model_list_ms": 1000 * (time.perf_counter() - began) / requests}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
