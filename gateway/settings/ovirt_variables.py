"""What the variables of the shell-like configuration files mean in the terms of our settings."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

import attrs

from gateway.settings.endpoints import TcpEndpoint, parse_endpoint
from gateway.settings.model import TlsVersion
from gateway.settings.ovirt_files import Assigned, Variables
from gateway.settings.problems import Problem
from gateway.settings.security import Verification
from gateway.settings.text import shown

__all__ = ["FURTHER", "SOURCES", "Translation", "translate"]

FURTHER: Final = "CONSOLE_GATEWAY_SETTINGS"
"""Names a TOML file with all that has no variable; the one variable that is ours."""

SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "listen.tls": ("PROXY_PORT", "PROXY_HOST"),
    "listen.plain": ("SSL_ONLY",),
    "tls.certificate": ("SSL_CERTIFICATE",),
    "tls.key": ("SSL_KEY",),
    "tls.min_version": ("SSL_MIN_VERSION",),
    "tls.ciphers": ("SSL_CIPHERS",),
    "tickets.certificate": ("CERT_FOR_DATA_VERIFICATION",),
}
"""Settings, and the variables that they come from."""

_SILENT: Final = frozenset(
    {"SOURCE_IS_IPV6", "TRACE_FILE", "PACKAGE_NAME", "PACKAGE_VERSION", "PACKAGE_DISPLAY_VERSION"}
)
"""Those that change nothing here, and that nobody needs to be told of."""
_OBSOLETE: Final = {
    "FORCE_DATA_VERIFICATION": ("tickets are always verified", "remove it"),
    "LOG_FILE": ("the log goes elsewhere", f"remove it, and set log.file in the file of {FURTHER}"),
    "LOG_VERBOSE": ("the level of the log is set elsewhere", f"set log.level in the file of {FURTHER}"),
}
_KNOWN: Final = sorted(
    {name for names in SOURCES.values() for name in names}
    | _SILENT
    | _OBSOLETE.keys()
    | {"TRACE_ENABLE", "ENGINE_USR", FURTHER}
)
_TRUE: Final = frozenset({"t", "true", "y", "yes", "1"})
_PORT: Final = re.compile(r"[0-9]{1,5}")
_LOOPBACK: Final = {False: "127.0.0.1", True: "::1"}
_PKI: Final = PurePosixPath("/etc/pki/ovirt-engine")
_MAX_LIKENESS: Final = 64


@attrs.frozen
class Translation:
    """The variables in our terms, as far as they could be understood."""

    tables: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """As they would be read from a TOML file."""
    origins: dict[str, tuple[Assigned, ...]] = attrs.field(factory=dict)
    """Settings of it, and what assigned them."""
    defaults: dict[str, Any] = attrs.field(factory=dict)
    """Settings that follow from where files are, unless something else is set."""
    no_authority: Problem | None = None
    """Says that there is no certificate of the engine's CA, where that is so."""
    further: Assigned | None = None
    """What names the TOML file with further settings."""
    not_understood: set[str] = attrs.field(factory=set)
    """Settings whose variables have a problem."""
    ignored: list[tuple[Assigned, str]] = attrs.field(factory=list)
    """Variables that are not used, and why."""
    problems: list[Problem] = attrs.field(factory=list)
    warnings: list[Problem] = attrs.field(factory=list)


def translate(
    variables: Variables,
    *,
    is_file: Callable[[str], bool] = os.path.isfile,
    is_directory: Callable[[str], bool] = os.path.isdir,
) -> Translation:
    """Say in our terms what ``variables`` say.

    :param is_file: whether there is such a file.
    :param is_directory: whether there is such a directory.
    """
    translator = _Translator(variables, is_directory)
    translator.listen()
    translator.tls()
    translator.files()
    translator.authority(is_file)
    translator.others()
    return attrs.evolve(translator.result, further=translator.further, no_authority=translator.no_authority)


class _Translator:
    def __init__(self, variables: Variables, is_directory: Callable[[str], bool]) -> None:
        self.result = Translation()
        self.further: Assigned | None = None
        self.no_authority: Problem | None = None
        self._all = variables.assigned
        self._is_directory = is_directory

    def listen(self) -> None:
        """PROXY_HOST, PROXY_PORT, SOURCE_IS_IPV6, SSL_ONLY."""
        host, port = self._get("PROXY_HOST"), self._get("PROXY_PORT")
        endpoint = self._endpoint(host, port)
        if endpoint is not None and (host or port):
            self._set("listen.tls", [str(endpoint)], host, port)
        only = self._get("SSL_ONLY")
        if only is not None and _is_true(only):
            # For what it is worth: a TOML file that says otherwise is told so.
            self._set("listen.plain", [], only)

    def tls(self) -> None:
        """SSL_MIN_VERSION, SSL_CIPHERS."""
        version = self._get("SSL_MIN_VERSION")
        if version is not None:
            versions = [each.value for each in TlsVersion]
            if version.value not in versions:
                text = f"{shown(version.value)} is not known, {versions[0]} is used"
                self.result.warnings.append(version.problem(text, f"write {' or '.join(versions)}"))
            value = version.value if version.value in versions else versions[0]
            self._set("tls.min_version", value, version)
        ciphers = self._all.get("SSL_CIPHERS")
        if ciphers is not None:
            # The one variable whose empty value means something.
            self._set("tls.ciphers", ciphers.value or "DEFAULT", ciphers)

    def files(self) -> None:
        """The variables that name a file."""
        for key in ("tls.certificate", "tls.key", "tickets.certificate"):
            name = self._get(SOURCES[key][0])
            if name is not None and self._is_path(name, key):
                self._set(key, name.value, name)
        further = self._get(FURTHER)
        if further is not None and self._is_path(further, ""):
            self.further = further

    def authority(self, is_file: Callable[[str], bool]) -> None:
        """The engine's CA, which issued the certificates of the hosts."""
        path = str(_pki(self.result.tables.get("tickets", {}).get("certificate", "")) / "ca.pem")
        if is_file(path):
            # Tickets name display addresses, which the certificates of the hosts do not have.
            self.result.defaults.update({"security.ca": path, "security.verify": Verification.CHAIN.value})
        else:
            text = (
                "does not exist: targets that want TLS are held to the authorities of the system, "
                "which did not issue their certificates"
            )
            remedy = f"copy the engine's CA there, or set security.ca in the file of {FURTHER}"
            self.no_authority = Problem(Path(path), "", text, remedy)

    def others(self) -> None:
        """What is not used."""
        trace = self._get("TRACE_ENABLE")
        if trace is not None and _is_true(trace):
            self._ignore(trace, "sessions are not recorded", "remove it")
        usr = self._get("ENGINE_USR")
        if usr is not None and not self._is_directory(os.path.join(usr.value, "services")):
            text = f"{shown(usr.value)} has no directory 'services', and is not needed here"
            self._ignore(usr, text, "remove it")
        for name, (text, remedy) in _OBSOLETE.items():
            if (found := self._get(name)) is not None:
                self._ignore(found, f"is obsolete: {text}", remedy)
        for name, found in self._all.items():
            if name not in _KNOWN and not found.shipped:
                self._unknown(name, found)
            elif name in _SILENT:
                self.result.ignored.append((found, "it changes nothing here"))

    def _unknown(self, name: str, found: Assigned) -> None:
        close = difflib.get_close_matches(name[:_MAX_LIKENESS].upper(), _KNOWN, n=1, cutoff=0.85)
        if close:
            self._ignore(found, "is no variable of this service", f"did you mean {close[0]}?")
        else:
            self.result.ignored.append((found, "it is no variable of this service"))

    def _get(self, name: str) -> Assigned | None:
        """What a variable has, if anything."""
        found = self._all.get(name)
        return found if found is not None and found.value else None

    def _set(self, key: str, value: Any, *origins: Assigned | None) -> None:
        table, _, name = key.partition(".")
        self.result.tables.setdefault(table, {})[name] = value
        self.result.origins[key] = tuple(each for each in origins if each is not None)

    def _wrong(self, key: str, assigned: Assigned, text: str, remedy: str) -> None:
        self.result.problems.append(assigned.problem(text, remedy))
        if key:
            self.result.not_understood.add(key)

    def _ignore(self, assigned: Assigned, text: str, remedy: str) -> None:
        self.result.warnings.append(assigned.problem(text, remedy))
        self.result.ignored.append((assigned, text))

    def _is_path(self, assigned: Assigned, key: str) -> bool:
        if assigned.value.startswith("/") and assigned.value.isprintable():
            return True
        self._wrong(key, assigned, f"{shown(assigned.value)} is not an absolute path", "begin it with '/'")
        return False

    def _endpoint(self, host: Assigned | None, port: Assigned | None) -> TcpEndpoint | None:
        number, interface = TcpEndpoint(6100).port, ""
        if port is not None:
            if not _PORT.fullmatch(port.value) or int(port.value) > 65535:
                text = f"{shown(port.value)} is not a port"
                self._wrong("listen.tls", port, text, "write a number up to 65535")
                return None
            number = int(port.value)
        if host is not None and host.value != "*":
            interface = host.value
            if interface.lower() == "localhost":
                six = self._get("SOURCE_IS_IPV6")
                interface = _LOOPBACK[six is not None and _is_true(six)]
        try:
            endpoint = parse_endpoint(f"tcp:{number}{_interface(interface)}")
        except ValueError:
            endpoint = None
        if isinstance(endpoint, TcpEndpoint):
            return endpoint
        assert host is not None, "a port alone is well"
        text = f"{shown(host.value)} is neither '*' nor an address"
        self._wrong("listen.tls", host, text, "write '*', or an address of this host")
        return None


def _interface(address: str) -> str:
    if not address:
        return ""
    # What is in brackets already stays so; any other colon or backslash is refused with what follows it.
    bare = ":" in address and not address.startswith("[")
    return f":interface=[{address}]" if bare else f":interface={address}"


def _is_true(assigned: Assigned) -> bool:
    return assigned.value.lower() in _TRUE


def _pki(certificate: str) -> PurePosixPath:
    """The directory of the engine's PKI: that above the ``certs`` with its certificate, or the usual one."""
    directory = PurePosixPath(certificate).parent
    return directory.parent if directory.name == "certs" else _PKI
