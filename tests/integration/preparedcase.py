"""Setups that nobody has to attend to: the key and its certificate are there before."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import ClassVar, Final

from gateway.setup import places
from tests.integration.setupcase import Ended, SetupTestCase, answer_file
from tests.support.hosts import ENGINE, GATEWAY, OVIRT
from tests.support.trees import Tree

__all__ = ["CERTIFICATE", "PreparedTestCase"]

CERTIFICATE: Final = "/root/wsp.cer"
"""Where somebody has put the certificate."""


class PreparedTestCase(SetupTestCase):
    """A host that has a key of a former setup, and a certificate for it in a file.

    :ivar before: what there is when a test begins.
    """

    key: ClassVar[bytes]
    request: ClassVar[bytes]
    certificate: ClassVar[bytes]
    before: Tree

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.key, cls.request = make_request(cls.directory)
        cls.certificate = cls.engine.sign(cls.request, GATEWAY)

    def setUp(self) -> None:
        super().setUp()
        self.place(places.KEY, self.key)
        self.write(CERTIFICATE, self.certificate)
        self.before = self.look()

    def place(self, place: object, content: bytes, mode: int = 0o600) -> None:
        """Write a file that belongs to the service."""
        self.write(str(place), content, mode)
        os.chown(self.gateway.path(place), OVIRT, OVIRT)

    def answers(self, **changes: object) -> dict[str, object]:
        """Answers to everything, as question and answer; ``None`` leaves one out."""
        questions: dict[str, object] = {
            "OVESETUP_CONFIG_WEBSOCKET_PROXY": "yes",
            "OVESETUP_NETWORK_FQDN_this": GATEWAY,
            "OVESETUP_NETWORK_FQDN_the_engine": ENGINE,
            "OVESETUP_UPDATE_FIREWALL": "no",
            "REMOTE_ENGINE_SETUP_STYLE": "2",
            "ENROLL_CERT_MANUAL_FILES_websocket-proxy": self.seen(CERTIFICATE),
            "OVESETUP_DIALOG_CONFIRM_SETTINGS": "ok",
            **changes,
        }
        return {f"QUESTION/1/{name}": value for name, value in questions.items() if value is not None}

    def answered(self, answers: dict[str, object] | None = None) -> list[str]:
        """Options that give these answers, or the usual ones."""
        text = answer_file(self.answers() if answers is None else answers)
        path = self.directory / "answers.conf"
        if self.gateway.holder is not None:
            path = self.gateway.root / "run/answers.conf"
        path.write_text(text)
        path.chmod(0o600)
        name = "/run/answers.conf" if self.gateway.holder is not None else str(path)
        return [*self.port_option(), "--config-append", name]

    def set_up(self, *options: str, **more: object) -> Ended:
        """Set it up; everything must go well."""
        ended = self.unattended("setup", *self.answered(), *options, **more)
        self.assert_succeeded(ended)
        return ended


def make_request(directory: Path) -> tuple[bytes, bytes]:
    """A key, of a kind that takes no time, and a request for it as setup makes them."""
    key, request = directory / "prepared.key", directory / "prepared.req"
    kind = "-newkey ec -pkeyopt ec_paramgen_curve:P-256"
    make = f"openssl req -new {kind} -nodes -keyout {key} -out {request} -subj"
    subprocess.run([*make.split(), "/CN=\\/"], check=True, capture_output=True)
    return key.read_bytes(), request.read_bytes()
