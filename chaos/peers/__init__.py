"""The peers that are put under the same load and faults as Tidemill."""

from __future__ import annotations

from chaos.peers.base import Peer
from chaos.peers.systems import GraphileWorker, Procrastinate

__all__ = ["PEERS", "Peer"]

PEERS: dict[str, Peer] = {peer.name: peer for peer in (GraphileWorker(), Procrastinate())}
