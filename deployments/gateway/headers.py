"""Request headers that decide something: read strictly, and refused with a reason."""

from __future__ import annotations

import mimetypes
import re
from urllib.parse import unquote

from starlette.requests import Request

from ..problems import Refused, bad_header

DEFAULT_MEDIA_TYPE = "application/octet-stream"

_FILENAME = re.compile(r';[ \t]*+filename(\*?+)[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s";]++))', re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[!#$&^_.+\-\w]{1,127}/[!#$&^_.+\-\w]{1,127}(?:;.{0,127})?", re.ASCII)


def idempotency_key(request: Request) -> str:
    """The Idempotency-Key, '' if there is none. Raises Refused (400) for one that cannot be used."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return ""
    if len(keys) > 1:
        raise Refused(bad_header("There is more than one Idempotency-Key; send one."))
    key = keys[0]
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise Refused(bad_header("An Idempotency-Key must have 1 to 255 bytes of printable ASCII."))
    return key


def last_event_id(request: Request) -> int:
    """The number of the last event the caller has seen, -1 for none. Raises Refused (400)."""
    text = request.headers.get("last-event-id", "")
    if not text:
        return -1
    if not (text.isdecimal() and len(text) <= 18):
        raise Refused(bad_header("Last-Event-ID must be the `id:` of an event of this stream: a number from 0."))
    return int(text)


def file_name(request: Request) -> str:
    """The name that Content-Disposition gives the body, without any folder; '' if it gives none."""
    names = {star: quoted or token for star, quoted, token in _FILENAME.findall(_disposition(request))}
    name = names.get("", "").replace('\\"', '"')
    charset, _, rest = names.get("*", "").partition("'")
    if charset.lower() in ("utf-8", "iso-8859-1"):  # those that RFC 8187 lets clients send
        name = unquote(rest.partition("'")[2], charset, "replace")
    name = re.split(r"[/\\]", name)[-1]
    if len(name.encode("utf-8", "replace")) > 255 or not name.isprintable():
        raise Refused(bad_header("The filename in Content-Disposition must have at most 255 bytes, all printable."))
    return name


def media_type(request: Request, name: str) -> str:
    """What Content-Type says the body is, else what its name suggests. Raises Refused (400)."""
    stated = request.headers.get("content-type", "").strip()
    # curl --data-binary says so of any body; nobody keeps a filled-in form as an artifact.
    if not stated or stated.lower().startswith("application/x-www-form-urlencoded"):
        return mimetypes.guess_type(name)[0] or DEFAULT_MEDIA_TYPE
    if stated.lower().startswith("multipart/form-data"):
        raise Refused(bad_header("Send the file's bytes as the body (curl -T FILE), not a multipart form."))
    if not _MEDIA_TYPE.fullmatch(stated):
        raise Refused(bad_header("Content-Type must be a media type such as application/pdf."))
    return stated


def _disposition(request: Request) -> str:
    """Header bytes come as Latin-1; clients that do not encode their names mostly send UTF-8."""
    text = request.headers.get("content-disposition", "")
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
