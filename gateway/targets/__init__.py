"""The far side: destination policy, dialling, and the handshakes before the relay."""

from __future__ import annotations

from gateway.targets.certificates import PeerCertificate, SeenCertificates
from gateway.targets.dial import Dialler
from gateway.targets.errors import TargetError
from gateway.targets.policy import DestinationPolicy, Forbidden, OwnAddress
from gateway.targets.secure import Face, Secured, Securer
from gateway.targets.trusts import Trusts

__all__ = [
    "DestinationPolicy",
    "Dialler",
    "Face",
    "Forbidden",
    "OwnAddress",
    "PeerCertificate",
    "Secured",
    "Securer",
    "SeenCertificates",
    "TargetError",
    "Trusts",
]
