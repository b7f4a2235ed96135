"""Byte streams of a peer (docs/protocol/peer.md, "Streams", and docs/protocol/streams.md)."""

from sideband.peer.streams.keeper import StreamKeeper
from sideband.peer.streams.peer_streams import PeerStreams, StreamHandler
from sideband.peer.streams.session_streams import SessionStreams
from sideband.peer.streams.stream import Stream

__all__ = ["PeerStreams", "SessionStreams", "Stream", "StreamHandler", "StreamKeeper"]
