"""Files of one side for the other: a folder that a daemon shares, and what its clients do with it.

    shared = Share("photos")                                  # the daemon, in on_connection: shared.serve(peer)

    for entry in await list_folder(peer):                     # the client
        print(entry.name, entry.size)
    await get_file(peer, "cat.jpg", "cat.jpg")

See docs/guide/files.md.
"""

from sideband.sharing.client import get_file, list_folder, put_file
from sideband.sharing.entries import EntryKind, FileEntry
from sideband.sharing.folders import FolderTransfer, get_folder, put_folder
from sideband.sharing.limits import DEFAULT_SHARING_LIMITS, SharingLimits
from sideband.sharing.server import Share, SharedTransfer, share

__all__ = [
    "DEFAULT_SHARING_LIMITS",
    "EntryKind",
    "FileEntry",
    "FolderTransfer",
    "Share",
    "SharedTransfer",
    "SharingLimits",
    "get_file",
    "get_folder",
    "list_folder",
    "put_file",
    "put_folder",
    "share",
]
