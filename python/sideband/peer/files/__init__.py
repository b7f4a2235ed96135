"""Files over streams: `Stream.send_file` and `Stream.receive_file` (docs/protocol/streams.md, "Files")."""

from sideband.peer.files.failures import RESET_CODES, telling
from sideband.peer.files.folder import BY_DESCRIPTOR, Folder
from sideband.peer.files.partial import PARTIAL_SUFFIX, held_bytes
from sideband.peer.files.progress import FileTransfer, ProgressFunction
from sideband.peer.files.receiving import ExistsPolicy, receive_into
from sideband.peer.files.sending import send_source
from sideband.peer.files.source import FileSource
from sideband.peer.files.worker import in_worker, opened_in_worker

__all__ = [
    "BY_DESCRIPTOR",
    "PARTIAL_SUFFIX",
    "RESET_CODES",
    "ExistsPolicy",
    "FileSource",
    "FileTransfer",
    "Folder",
    "ProgressFunction",
    "held_bytes",
    "in_worker",
    "opened_in_worker",
    "receive_into",
    "send_source",
    "telling",
]
