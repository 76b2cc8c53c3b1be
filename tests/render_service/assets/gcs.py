"""A small server of the XML API of Google Cloud Storage, written from its reference.

What obstore asks: GET, HEAD, PUT and DELETE of an object, with ranges and generation conditions; lists of
version 2 in pages; uploads in parts. As there, objects have generations, an upload has parts of at least 5
MiB but for the last, a completed list has to name each part's ETag, and errors are XML with a code.
"""

import hashlib
import itertools
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

LEAST_PART = 5 << 20
PAGE = 2
NAMESPACE = "http://doc.s3.amazonaws.com/2006-03-01"
_NUMBERS = itertools.count(1_700_000_000_000_000)


@dataclass
class Stored:
    """An object; its generation is another each time it is written."""

    content: bytes
    kind: str
    generation: int = field(default_factory=lambda: next(_NUMBERS))
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.content, usedforsecurity=False).hexdigest()}"'


@dataclass
class Upload:
    """An upload in parts."""

    name: str
    kind: str
    parts: dict[int, Stored] = field(default_factory=dict)


class Bucket:
    """The one bucket there is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    """Answers for `bucket`."""

    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def answer(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        bucket, _, self.key = unquote(url.path).lstrip("/").partition("/")
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            self._check_bucket(bucket)
            getattr(self, f"_{self.command.lower()}")(body)
        except Refused as refused:
            text = f"<?xml version='1.0'?><Error><Code>{refused.code}</Code><Message>no</Message></Error>"
            self._send(refused.status, text.encode(), {"content-type": "application/xml"})

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  # the names it looks for

    def _check_bucket(self, name: str) -> None:
        if name != self.bucket.name:
            raise Refused(404, "NoSuchBucket")

    def _head(self, _: bytes) -> None:
        self._get(b"")

    def _get(self, _: bytes) -> None:
        if not self.key:
            self._list()
            return
        stored = self._there()
        headers = {
            "content-type": stored.kind,
            "etag": stored.etag,
            "last-modified": format_datetime(stored.made, usegmt=True),
            "x-goog-generation": str(stored.generation),
            "x-goog-metageneration": "1",
            "x-goog-storage-class": "STANDARD",
        }
        first, separator, last = self.headers.get("range", "").removeprefix("bytes=").partition("-")
        if not separator:
            self._send(200, stored.content, headers)
            return
        end = min(int(last or sys.maxsize), len(stored.content) - 1)
        if int(first) > end:
            raise Refused(416, "InvalidRange")
        headers["content-range"] = f"bytes {first}-{end}/{len(stored.content)}"
        self._send(206, stored.content[int(first) : end + 1], headers)

    def _list(self) -> None:
        if self.query.get("list-type") != "2":
            raise Refused(400, "InvalidArgument")
        prefix, after = self.query.get("prefix", ""), self.query.get("continuation-token", "")
        names = sorted(name for name in self.bucket.objects if name.startswith(prefix) and name > after)
        page, more = names[:PAGE], len(names) > PAGE
        rows = "".join(self._row(name, self.bucket.objects[name]) for name in page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        text = (
            f"<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='{NAMESPACE}'>"
            f"<Name>{self.bucket.name}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        )
        self._send(200, text.encode(), {"content-type": "application/xml; charset=UTF-8"})

    def _row(self, name: str, stored: Stored) -> str:
        at = stored.made.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return (
            f"<Contents><Key>{escape(name)}</Key><Generation>{stored.generation}</Generation>"
            f"<MetaGeneration>1</MetaGeneration><LastModified>{at}</LastModified>"
            f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.content)}</Size></Contents>"
        )

    def _put(self, body: bytes) -> None:
        kind = self.headers.get("content-type", "application/octet-stream")
        if "uploadId" in self.query:
            part = Stored(body, kind)
            self._upload().parts[int(self.query["partNumber"])] = part
            self._send(200, b"", {"etag": part.etag})
            return
        wanted = self.headers.get("x-goog-if-generation-match")
        there = self.bucket.objects.get(self.key)
        if wanted is not None and int(wanted) != (there.generation if there else 0):
            raise Refused(412, "PreconditionFailed")
        self._keep(self.key, Stored(body, kind))

    def _post(self, body: bytes) -> None:
        if "uploads" in self.query:
            upload_id = f"upload-{next(_NUMBERS)}"
            self.bucket.uploads[upload_id] = Upload(self.key, self.headers.get("content-type", ""))
            text = (
                f"<?xml version='1.0'?><InitiateMultipartUploadResult xmlns='{NAMESPACE}'>"
                f"<Bucket>{self.bucket.name}</Bucket><Key>{escape(self.key)}</Key>"
                f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
            )
            self._send(200, text.encode(), {"content-type": "application/xml"})
            return
        upload, named = self._upload(), ET.fromstring(body)
        parts = []
        for each in named.iter():
            if each.tag.rpartition("}")[2] == "Part":
                facts = {child.tag.rpartition("}")[2]: child.text or "" for child in each}
                part = upload.parts.get(int(facts["PartNumber"]))
                if part is None or part.etag.strip('"') != facts["ETag"].strip('"'):
                    raise Refused(400, "InvalidPart")
                parts.append(part.content)
        if any(len(content) < LEAST_PART for content in parts[:-1]):
            raise Refused(400, "EntityTooSmall")
        del self.bucket.uploads[self.query["uploadId"]]
        stored = Stored(b"".join(parts), upload.kind)
        self.bucket.objects[upload.name] = stored
        text = (
            f"<?xml version='1.0'?><CompleteMultipartUploadResult xmlns='{NAMESPACE}'>"
            f"<Bucket>{self.bucket.name}</Bucket><Key>{escape(upload.name)}</Key>"
            f"<ETag>{escape(stored.etag)}</ETag></CompleteMultipartUploadResult>"
        )
        self._send(200, text.encode(), {"x-goog-generation": str(stored.generation)})

    def _delete(self, _: bytes) -> None:
        if "uploadId" in self.query:
            self._upload()
            del self.bucket.uploads[self.query["uploadId"]]
        else:
            self._there()
            del self.bucket.objects[self.key]
        self._send(204, b"", {})

    def _there(self) -> Stored:
        if self.key not in self.bucket.objects:
            raise Refused(404, "NoSuchKey")
        return self.bucket.objects[self.key]

    def _upload(self) -> Upload:
        upload = self.bucket.uploads.get(self.query["uploadId"])
        if upload is None or upload.name != self.key:
            raise Refused(404, "NoSuchUpload")
        return upload

    def _keep(self, name: str, stored: Stored) -> None:
        self.bucket.objects[name] = stored
        self._send(200, b"", {"etag": stored.etag, "x-goog-generation": str(stored.generation)})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def server_of(bucket: Bucket) -> ThreadingHTTPServer:
    """Return a server of `bucket` on a free port."""
    return ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"bucket": bucket}))
