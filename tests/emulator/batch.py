"""Batches: several requests in one multipart body, each answered as if it had come alone.

Source: https://cloud.google.com/compute/docs/api/how-tos/batch (multipart/mixed of application/http parts).
"""

from __future__ import annotations

import email.parser
import email.policy
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import Response

from tests.emulator.incoming import Incoming

if TYPE_CHECKING:
    from tests.emulator.app import App

BOUNDARY = "batch_emulated"


async def answer(app: App, incoming: Incoming) -> Response:
    """Answer every part, in order."""
    head = f"Content-Type: {incoming.headers['content-type']}\r\n\r\n".encode()
    whole = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + incoming.content)
    parts = []
    for part in whole.iter_parts():
        payload = part.get_payload(decode=True)
        raw = payload if isinstance(payload, bytes) else b""
        outcome = await app.answer(_inner(incoming, raw))
        parts.append(_part(str(part.get("Content-ID", "")), outcome.response))
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return Response(body, media_type=f"multipart/mixed; boundary={BOUNDARY}")


def _inner(outer: Incoming, raw: bytes) -> Incoming:
    """The request of one part; what it does not say itself is as in the batch."""
    first, _, rest = raw.partition(b"\n")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(rest)
    http, target, *_ = first.decode().split()
    url = urlsplit(target)
    headers = outer.headers | {name.lower(): str(value) for name, value in message.items()}
    payload = message.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    return Incoming(http, url.netloc or outer.host, url.path, url.query, headers, content.strip(), outer.peer)


def _part(content_id: str, response: Response) -> bytes:
    inner = bytes(response.body)
    answered = content_id.replace("<", "<response-", 1)
    head = f"--{BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: {answered}\r\n\r\n"
    status = f"HTTP/1.1 {response.status_code} {'OK' if response.status_code < 400 else 'Error'}\r\n"
    media = response.headers.get("content-type", "application/json")
    lines = f"Content-Type: {media}\r\nContent-Length: {len(inner)}\r\n\r\n"
    return (head + status + lines).encode() + inner + b"\r\n"
