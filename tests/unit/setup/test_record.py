"""Records: what they say is read back; what they should not say does no harm."""

from __future__ import annotations

import configparser
import hashlib
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.setup import places
from gateway.setup.errors import SetupError
from gateway.setup.host.ours import is_our_directory, is_ours
from gateway.setup.host.record import Record, RecordedFile, RecordedLink, digest_of, parse_record
from gateway.setup.host.records import merge_records, read_records
from gateway.setup.host.system import System

_RECORD = Record(
    files=(
        RecordedFile(places.CONFIGURATION, "core", digest_of(b"configuration")),
        RecordedFile(places.KEY, "ca_pki_wsp", digest_of(b"key")),
        RecordedFile(places.CERTIFICATE, "ca_pki_wsp", digest_of(b"certificate")),
    ),
    links=(RecordedLink(places.UNIT_WANTED, str(places.UNIT), "/lib/x%y.service"),),
    directories=(places.PKI, places.PKI / "keys"),
    traces=(places.LOGS / "ovirt-engine-setup-20300101000000-abc123.log",),
    backups=(places.KEY.with_name(f"{places.KEY.name}.20300101000000"),),
    facts={"firewall.zones": "public dmz"},
)

_OTHERS = f"""\
[file_group_core]
description = Core files
optional = False
file.001.name = {places.CONFIGURATION}
file.001.md5 = {hashlib.md5(b"configuration").hexdigest()}
file.002.name = /etc/ovirt-engine/engine.conf.d/10-setup-database.conf
file.003.name = {places.POST_INSTALL}
file.004.name = {places.ENGINE_CERTIFICATE}
line.000000.name = /etc/exports
line.000000.content.added = /var/lib/exports
line.000001.content.removed = %%x

[file_group_ca_pki_wsp]
description = WSP PKI keys
optional = True
file.001.name = {places.ENGINE_CERTIFICATE}
file.001.sha256 = {hashlib.sha256(b"engine").hexdigest()}
file.002.name = {places.PKI}/keys/../../../shadow

[unremovable]
file.001.name = /etc/pki/ovirt-engine/ca.pem
""".encode()


class RecordTest(SynchronousTestCase):
    def test_it_is_read_back(self) -> None:
        record = parse_record(_RECORD.render(), "record")
        self.assertEqual(set(record.files), set(_RECORD.files))
        self.assertEqual(record.links, _RECORD.links)
        self.assertEqual(record.directories, _RECORD.directories)
        self.assertEqual(record.traces, _RECORD.traces)
        self.assertEqual(record.backups, _RECORD.backups)
        self.assertEqual(record.facts, _RECORD.facts)
        self.assertFalse(record.shared)
        self.assertEqual(record.groups["ca_pki_wsp"], "Keys and certificates of the console gateway")
        self.assertEqual(parse_record(Record().render(), "record"), Record())

    def test_the_format_is_what_others_read(self) -> None:
        """With substitution, as they have it."""
        parser = configparser.ConfigParser()
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(_RECORD.render().decode())
        core = parser["file_group_core"]
        self.assertEqual(core["file.001.name"], str(places.CONFIGURATION))
        self.assertEqual(core["file.001.sha256"], hashlib.sha256(b"configuration").hexdigest())
        self.assertFalse(core.getboolean("optional"))
        keys = parser["file_group_ca_pki_wsp"]
        self.assertTrue(keys.getboolean("optional"))
        self.assertEqual(keys["file.002.name"], str(places.CERTIFICATE))
        self.assertEqual(parser["console_gateway"]["link.001.former"], "/lib/x%y.service")

    def test_records_of_the_engine(self) -> None:
        record = parse_record(_OTHERS, "record")
        found = {(file.place, file.group) for file in record.files}
        expected = {(places.CONFIGURATION, "core"), (places.POST_INSTALL, "core")}
        self.assertEqual(found, expected | {(places.ENGINE_CERTIFICATE, "ca_pki_wsp")})
        self.assertTrue(record.shared)
        self.assertEqual(record.foreign_lines, 2)
        self.assertEqual(len(record.foreign), 4)
        configuration = record.files[0]
        self.assertTrue(configuration.wrote(b"configuration"))
        self.assertFalse(configuration.wrote(b"Configuration"))

    def test_places_that_are_not_ours(self) -> None:
        """Whoever edits a record cannot have anything else removed."""
        for place in (
            "/etc/passwd",
            "/",
            "",
            ".",
            "relative",
            f"{places.KEY}/../../../../shadow",
            f"/{places.KEY}",
            f"{places.KEY}/",
            f"{places.PKI}/private/ca.pem",
            f"{places.LOGS}/other.log",
            f"{places.LOGS}/../ovirt-engine-setup-1.log",
            f"{places.ANSWERS}/20300101000000/../x.conf",
            f"{places.RECORDS}/../engine.conf",
            f"{places.PKI}\0",
            "~root/.ssh/authorized_keys",
        ):
            text = f"[file_group_core]\nfile.1.name={place}\n[console_gateway]\nversion=1\n" + "".join(
                f"{kind}.1.name={place}\n" for kind in ("link", "directory", "trace", "backup")
            )
            record = parse_record(text.encode(), "record")
            nothing = (record.files, record.links, record.directories, record.traces, record.backups)
            self.assertEqual(nothing, ((), (), (), (), ()), place)
        self.assertTrue(is_our_directory(PurePosixPath("/etc/pki/ovirt-engine")))
        self.assertFalse(is_our_directory(PurePosixPath("/")))
        self.assertFalse(is_our_directory(PurePosixPath("/home")))

    @given(st.text("/.abc", max_size=20).map(PurePosixPath))
    @example(places.UNIT)
    def test_what_is_ours_is_an_exact_name(self, place: PurePosixPath) -> None:
        if is_ours(place):
            self.assertIn(place, (places.UNIT,))

    @given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    @example(b"[console_gateway]\nversion=2\n")
    @example(b"[file_group_\n]")
    @example(b"[a]\nkey\n")
    @example(b"[DEFAULT]\nfile.1.name=/etc/shadow\n[file_group_core]\n")
    @example(b" x=1\n[s]\n y\n=2")
    def test_whatever_it_says(self, data: bytes) -> None:
        try:
            record = parse_record(data, "record")
        except SetupError as error:
            self.assertEqual(len(str(error).splitlines()), 1)
        else:
            for place in (*record.traces, *(file.place for file in record.files)):
                self.assertTrue(is_ours(place))

    def test_versions(self) -> None:
        with self.assertRaisesRegex(SetupError, "is of version '2', this program knows 1; use a later one"):
            parse_record(b"[console_gateway]\nversion = 2\n", "record")

    def test_too_much(self) -> None:
        with self.assertRaisesRegex(SetupError, "more than 10000 lines"):
            parse_record(b"[file_group_core]\n" + b"x=1\n" * 10_000, "record")

    def test_several_setups(self) -> None:
        later = Record(
            files=(RecordedFile(places.CONFIGURATION, "core", digest_of(b"new")),),
            links=(RecordedLink(places.UNIT_WANTED, "/new", str(places.UNIT)),),
            directories=(places.PKI, places.PKI / "certs"),
            facts={"firewall.zones": "internal dmz"},
        )
        record = merge_records([_RECORD, later])
        self.assertEqual(len(record.files), 3)
        self.assertTrue(record.files[0].wrote(b"new"))
        self.assertEqual(record.links, (RecordedLink(places.UNIT_WANTED, "/new", "/lib/x%y.service"),))
        self.assertEqual(record.directories, (places.PKI, places.PKI / "keys", places.PKI / "certs"))
        self.assertEqual(record.facts, {"firewall.zones": "public dmz internal"})
        self.assertTrue(merge_records([]).empty)

    def test_reading_a_host(self) -> None:
        root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, root)
        system = System(root, owners=False)
        self.assertEqual(read_records(system), {})
        folder = root.joinpath(*places.RECORDS.parts[1:])
        folder.mkdir(parents=True)
        (folder / "20310101000000-uninstall.conf").write_bytes(Record().render())
        (folder / "20300101000000-uninstall.conf").write_bytes(_RECORD.render())
        (folder / "README").write_text("not a record")
        (folder / ".20300101000000-uninstall.conf.1").write_text("not a record")
        found = read_records(system)
        self.assertEqual([place.name[:4] for place in found], ["2030", "2031"])
        (folder / "x.conf").write_text("no section")
        with self.assertRaisesRegex(SetupError, "uninstall.d/x.conf is not a record of setup"):
            read_records(system)
