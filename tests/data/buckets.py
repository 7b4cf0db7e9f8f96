"""A web server that answers as S3 and Google Cloud Storage do, as far as reading a folder of a bucket asks it to."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

GOOGLE, GOOGLE_BYTES = "/storage/v1/b/", "/download/storage/v1/b/"
NO_KEY = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
NO_OBJECTS = b"<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"


class Buckets(BaseHTTPRequestHandler):
    """Serves the files below `folder`, whose folders are the buckets; `seen` is what was asked for."""

    protocol_version = "HTTP/1.1"
    seen: list[str]

    def __init__(self, *arguments: Any, folder: Path, seen: list[str]) -> None:
        self.folder, self.seen = folder, seen
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        """An object of S3, described."""
        self.do_GET()

    def do_GET(self) -> None:
        """An object, whole or a range of its bytes; or of Google's, what is said of it."""
        place = urlsplit(self.path)
        path = unquote(place.path)
        self.seen.append(f"{self.command} {path}")
        if "list-type=2" in place.query:
            return self.reply(200, NO_OBJECTS)
        google = next((each for each in (GOOGLE_BYTES, GOOGLE) if path.startswith(each)), None)
        name = path[1:] if google is None else path.removeprefix(google).replace("/o/", "/", 1)
        file = self.folder / name
        if not file.is_file():
            return self.reply(404, NO_KEY if google is None else b'{"error": {"code": 404, "message": "Not Found"}}')
        content = file.read_bytes()
        if google == GOOGLE:
            bucket, _, inside = name.partition("/")
            link = f"http://{self.headers['Host']}{place.path.replace(GOOGLE, GOOGLE_BYTES, 1)}?alt=media"
            described = {"kind": "storage#object", "bucket": bucket, "name": inside, "size": str(len(content)),
                         "mediaLink": link, "updated": "2026-01-01T00:00:00.000Z", "generation": "1"}  # fmt: skip
            return self.reply(200, json.dumps(described).encode(), "application/json")
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        some = content[int(first) : int(last or len(content)) + 1]
        return self.reply(206 if "Range" in self.headers else 200, some, "application/octet-stream")

    def reply(self, status: int, content: bytes, kind: str = "application/xml") -> None:
        """Send it; of HEAD everything but the content."""
        self.send_response(status)
        for name, value in {
            "Content-Type": kind, "Content-Length": str(len(content)), "ETag": '"1"',
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing."""
