"""The content of an object as an answer: headers, ranges, decompression.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/get, https://cloud.google.com/storage/docs/transcoding,
https://cloud.google.com/storage/docs/xml-api/reference-headers for the headers.
"""

from __future__ import annotations

import gzip
import re

from starlette.responses import Response

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.storage.marks import moment
from tests.emulator.world import Record

SHOWN = (
    ("Cache-Control", "cacheControl"),
    ("Content-Disposition", "contentDisposition"),
    ("Content-Encoding", "contentEncoding"),
    ("Content-Language", "contentLanguage"),
)


def download(record: Record, call: Call) -> Response:
    """All of the content, the range asked for (206), or 416 where there is no such range."""
    body, content = record.body, record.hidden["content"]
    headers = _headers(body)
    if body.get("contentEncoding") == "gzip" and "gzip" not in call.headers.get("accept-encoding", ""):
        del headers["Content-Encoding"]
        return Response(gzip.decompress(content), 200, headers)
    wanted = _range(call.headers.get("range", ""), len(content))
    if wanted is None:
        return Response(content, 200, headers)
    first, last = wanted
    if first >= len(content) or last < first:
        headers = {"Content-Range": f"bytes */{len(content)}"}
        raise errors.ApiError(
            416, "Request range not satisfiable", reason="requestedRangeNotSatisfiable", headers=headers
        )
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, headers)


def _headers(body: Body) -> dict[str, str]:
    sums = [f"crc32c={body['crc32c']}", *([f"md5={body['md5Hash']}"] if "md5Hash" in body else [])]
    headers = {
        "Content-Type": body.get("contentType", "application/octet-stream"),
        "ETag": body["etag"],
        "Last-Modified": moment(body["updated"]).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "X-Goog-Generation": body["generation"],
        "X-Goog-Metageneration": body["metageneration"],
        "X-Goog-Hash": ",".join(sums),
        "X-Goog-Storage-Class": body["storageClass"],
        "X-Goog-Stored-Content-Encoding": body.get("contentEncoding", "identity"),
        "X-Goog-Stored-Content-Length": body["size"],
        "Accept-Ranges": "bytes",
    }
    return headers | {header: body[field] for header, field in SHOWN if field in body}


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte; None where no range, or one that makes no sense, is asked for (RFC 9110, 14.2)."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.replace(" ", ""))
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(size - int(found[2]), 0), size - 1
    return int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
