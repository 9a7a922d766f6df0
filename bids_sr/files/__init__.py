"""Files: bounded, defensive reading of foreign files, atomic writing of our own, locks."""

from bids_sr.files.digests import file_digest, text_digest
from bids_sr.files.locking import claimed, locked
from bids_sr.files.reading import (
    LIMIT,
    TABLE_LIMIT,
    check_own,
    check_regular,
    check_stored,
    open_regular,
    read_bytes,
    read_json,
    read_json_or_empty,
    read_text,
    read_toml,
    read_yaml,
)
from bids_sr.files.writing import (
    check_writable,
    copy_atomic,
    jsonable,
    link_atomic,
    write_atomic,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)

__all__ = [
    "LIMIT",
    "TABLE_LIMIT",
    "check_own",
    "check_regular",
    "check_stored",
    "check_writable",
    "claimed",
    "copy_atomic",
    "file_digest",
    "jsonable",
    "link_atomic",
    "locked",
    "open_regular",
    "read_bytes",
    "read_json",
    "read_json_or_empty",
    "read_text",
    "read_toml",
    "read_yaml",
    "text_digest",
    "write_atomic",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_text_atomic",
]
