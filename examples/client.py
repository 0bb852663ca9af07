"""Ask a running `likewise serve`, with the standard library only.

likewise serve &
python examples/client.py reference.png mask.png photo.jpg --out found.png
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path


class Client:
    """References are sent once; then any number of images."""

    def __init__(self, url: str = "http://127.0.0.1:8000", token: str | None = None) -> None:
        self.url, self.token = url.rstrip("/"), token

    def post(self, route: str, fields: list[tuple[str, str | Path]]) -> bytes:
        """Send a form; a Path is sent as a file. Waits and tries again while the queue is full."""
        mark, body = uuid.uuid4().hex, b""
        for name, value in fields:
            file = '; filename="file"' if isinstance(value, Path) else ""
            body += (
                f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
            )
            body += (value.read_bytes() if isinstance(value, Path) else value.encode()) + b"\r\n"
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(
            self.url + route, body + f"--{mark}--\r\n".encode(), headers
        )
        try:
            with urllib.request.urlopen(request) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            if error.code != 429:
                sys.exit(f"{error.code}: {json.load(error)['error']}")
            time.sleep(int(error.headers["Retry-After"]))
        return self.post(route, fields)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("files", type=Path, nargs=3, metavar=("REFERENCE", "MASK", "IMAGE"))
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--out", type=Path, default=Path("found.png"))
    args = parser.parse_args()
    reference, mask, image = args.files
    client = Client(args.url, os.environ.get("LIKEWISE_TOKEN"))
    sent = json.loads(client.post("/v1/references", [("images", reference), ("masks", mask)]))
    form = [("reference", sent["id"]), ("image", image)]
    print(json.dumps(json.loads(client.post("/v1/segment", form))["classes"][0]))
    args.out.write_bytes(client.post("/v1/segment?format=png", form))
