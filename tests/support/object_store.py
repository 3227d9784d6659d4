"""An object store that speaks as much of S3 as pyarrow's client asks for, on loopback, its objects in memory.

Buckets need not be made. Signatures are not checked, multipart uploads are put together, listings are never cut.
"""

from __future__ import annotations

import hashlib
import threading
import xml.sax.saxutils
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

XML = '<?xml version="1.0" encoding="UTF-8"?>'
WRITTEN = ("2026-01-01T00:00:00.000Z", "Thu, 01 Jan 2026 00:00:00 GMT")


class Store(ThreadingHTTPServer):
    """Objects by ``bucket/key``.

    Attributes:
        objects: Their bytes.
        parts: By upload, the bytes of each part.
        broken: Whether all that is asked for fails.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def log_message(self, *words: Any) -> None:
        pass

    def parsed(self) -> tuple[str, dict[str, str]]:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        return unquote(url.path).strip("/") + (
            "/" if url.path.rstrip("/").count("/") > 1 and url.path[-1] == "/" else ""
        ), asked

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            found = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", "") or "STREAMING" in self.headers.get(
            "x-amz-content-sha256", ""
        ):
            return unchunked(found)
        return found

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        given = {
            "Content-Length": str(len(content)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f"{XML}<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def handle_one_request(self) -> None:
        super().handle_one_request()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name, asked = self.parsed()
        if self.server.broken:
            return self.refuse(403, "AccessDenied")
        if "list-type" in asked:
            return self.answer(200, self.listing(name.strip("/"), asked), Content_Type="application/xml")
        if "/" not in name:
            return self.answer(200)
        content = self.server.objects.get(name)
        if content is None:
            return self.refuse(404, "NoSuchKey")
        headers = {"ETag": tag(content), "Last_Modified": WRITTEN[1], "Accept_Ranges": "bytes"}
        if bounds := self.headers.get("Range"):
            first, _, last = bounds.removeprefix("bytes=").partition("-")
            end = min(int(last) if last else len(content) - 1, len(content) - 1)
            part = content[int(first) : end + 1]
            return self.answer(206, part, Content_Range=f"bytes {first}-{end}/{len(content)}", **headers)
        if self.command == "HEAD":
            headers["Content_Length"] = str(len(content))
        return self.answer(200, content, **headers)

    def listing(self, bucket: str, asked: dict[str, str]) -> bytes:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        keys = sorted(name[len(bucket) + 1 :] for name in self.server.objects if name.startswith(f"{bucket}/{prefix}"))
        folders: set[str] = set()
        files = []
        for key in keys:
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                files.append(key)
        quoted = xml.sax.saxutils.escape
        contents = "".join(
            f"<Contents><Key>{quoted(key)}</Key><LastModified>{WRITTEN[0]}</LastModified>"
            f"<Size>{len(self.server.objects[f'{bucket}/{key}'])}</Size></Contents>"
            for key in files
        )
        common = "".join(
            f"<CommonPrefixes><Prefix>{quoted(folder)}</Prefix></CommonPrefixes>" for folder in sorted(folders)
        )
        count = len(files) + len(folders)
        return (
            f"{XML}<ListBucketResult><Name>{bucket}</Name><Prefix>{quoted(prefix)}</Prefix><KeyCount>{count}</KeyCount>"
            f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"
        ).encode()

    def do_PUT(self) -> None:
        name, asked = self.parsed()
        content = self.body()
        if self.server.broken:
            return self.refuse(403, "AccessDenied")
        if "uploadId" in asked:
            self.server.parts[asked["uploadId"]][int(asked["partNumber"])] = content
        elif "/" in name:
            self.server.objects[name] = content
        return self.answer(200, ETag=tag(content))

    def do_POST(self) -> None:
        name, asked = self.parsed()
        content = self.body()
        if "uploads" in asked:
            identity = f"upload-{len(self.server.parts)}"
            self.server.parts[identity] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{identity}</UploadId></InitiateMultipartUploadResult>"
        elif "uploadId" in asked:
            parts = self.server.parts[asked["uploadId"]]
            self.server.objects[name] = b"".join(parts[number] for number in sorted(parts))
            text = f"<CompleteMultipartUploadResult><ETag>{tag(b'')}</ETag></CompleteMultipartUploadResult>"
        else:  # several are deleted
            for part in content.decode().split("<Key>")[1:]:
                self.server.objects.pop(f"{name.strip('/')}/{part.partition('</Key>')[0]}", None)
            text = "<DeleteResult></DeleteResult>"
        return self.answer(200, f"{XML}{text}".encode(), Content_Type="application/xml")

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.parsed()[0], None)
        return self.answer(204)


def tag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def unchunked(body: bytes) -> bytes:
    """What AWS's own chunks hold: each has its size in a line before it."""
    found, rest = b"", body
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.partition(b";")[0] or b"0", 16)
        if not size:
            break
        found, rest = found + rest[:size], rest[size + 2 :]
    return found


@contextmanager
def object_store() -> Iterator[Store]:
    """Runs one."""
    store = Store()
    thread = threading.Thread(target=store.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.shutdown()
        store.server_close()
        thread.join()


def credentials(store: Store) -> dict[str, str]:
    """Environment variables by which pyarrow, and Ray's processes, find it."""
    return {
        "AWS_ENDPOINT_URL": store.url, "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
