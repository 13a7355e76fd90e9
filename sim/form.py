"""Forms with files (multipart/form-data), read with the standard library's parser of mail, whose format they share."""

from email.parser import BytesParser
from email.policy import HTTP

from sim.errors import ApiError


def read(content_type: bytes, body: bytes) -> dict[str, bytes]:
    """Return a form's fields by name; of repeated ones the last counts. Raises ApiError for what is no form."""
    if not content_type.lower().startswith(b"multipart/form-data"):
        message = (
            "1 validation error:\n  {'type': 'missing', 'loc': 'body.file', 'msg': 'Field required', 'input': None}"
        )
        raise ApiError(message, "Bad Request", "body.file", early=True)
    mail = BytesParser(policy=HTTP).parsebytes(b"content-type: %b\r\n\r\n%b" % (content_type, body))
    fields: dict[str, bytes] = {}
    for part in mail.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content
    return fields
