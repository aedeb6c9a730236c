"""The control API's own listeners, from settings to connections."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
from OpenSSL import SSL, crypto
from twisted.logger import Logger
from twisted.web.resource import IResource

from gateway.control.access import Access
from gateway.control.api import Api, Controlled
from gateway.control.openapi import openapi_document
from gateway.control.site import make_control_site
from gateway.control.tokens import Token, load_tokens
from gateway.net import (
    Arrival,
    BindError,
    Listener,
    ListenerSet,
    Reception,
    load_certificates,
    load_identity,
    load_pair,
    server_context,
)
from gateway.net.http_site import HttpSite
from gateway.settings import (
    BadValueError,
    Endpoint,
    Problem,
    Settings,
    SettingsError,
    UnixEndpoint,
    parse_endpoint,
    parse_socket_path,
)
from gateway.settings.check_control import is_loopback

__all__ = ["ControlEndpoint", "ControlServer", "check_control_files", "control_endpoints"]

_MAX_CONNECTIONS: Final = 256
"""To one listener at once."""
_SOCKET: Final = "control.sock"
_MODE: Final = 0o660
_FAREWELL: Final = 1.0
"""Seconds that connections have after another process has taken over the sockets."""


@attrs.frozen
class ControlEndpoint:
    """Where the API is served."""

    name: str
    """As it stands in the settings, or would."""
    endpoint: Endpoint
    tls: bool


def control_endpoints(settings: Settings, environ: Mapping[str, str]) -> tuple[ControlEndpoint, ...]:
    """Where the API is served: as the settings say, or in the directory that systemd made.

    :param environ: where ``RUNTIME_DIRECTORY`` of systemd.exec(5) is looked up.
    :raises BadValueError: that directory cannot hold a socket.
    """
    control = settings.control
    plain = control.listen or _default(environ)
    return tuple(
        ControlEndpoint(name, parse_endpoint(name), tls)
        for names, tls in ((plain, False), (control.tls, True))
        for name in names
    )


def check_control_files(settings: Settings) -> list[Problem]:
    """Everything wrong with the files that ``[control]`` names."""
    try:
        ControlServer(settings)
    except SettingsError as error:
        return list(error.problems)
    return []


class ControlServer:
    """Serves the control API: :meth:`bind`, :meth:`start`, :meth:`stop`, and again."""

    log = Logger()

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        """Read tokens and certificates; nothing is listened on.

        :param environ: see :func:`control_endpoints`; that of the process by default.
        :raises SettingsError: with everything wrong with the files that the settings name.
        """
        self._settings = settings
        self._access, self._context = _load(settings)
        try:
            self.endpoints = control_endpoints(settings, os.environ if environ is None else environ)
            """Where the API is to be served."""
        except BadValueError as error:
            problem = Problem(
                Path("settings"),
                "control.listen",
                f"has a default that cannot be: {error.text}",
                error.remedy,
            )
            raise SettingsError([problem]) from None
        self._sockets = ListenerSet()
        self._receptions: dict[Listener, Reception] = {}
        self._api: Api | None = None
        self._serve: partial[None] | None = None
        self._farewell: Any = None

    @property
    def listeners(self) -> list[Listener]:
        """What is bound."""
        return self._sockets.bound

    def bind(self) -> None:
        """Bind every listening socket, or none; what is bound stays so.

        :raises BindError: when one cannot be bound, or a plain one could be reached from other hosts.
        """
        self._sockets.bind(((each.name, each.tls) for each in self.endpoints), _check_reach)

    def start(
        self,
        reactor: Any,
        controlled: Controlled,
        *,
        extra: Mapping[str, IResource] | None = None,
        dashboard: IResource | None = None,
    ) -> None:
        """Begin to accept; :meth:`bind` comes first.

        :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
        :param extra: resources served beside the API, such as ``metrics``, by name.  Callers need
            credentials, except for ``healthz`` and ``readyz``.
        :param dashboard: the page, see :func:`gateway.web.dashboard_resource`.
        """
        self._api = api = Api(controlled, reactor, openapi_document())
        site = make_control_site(api, lambda: self._access, reactor, extra=extra or {}, dashboard=dashboard)
        self._serve = partial(self._accept, reactor, site)
        self._serve()

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Read tokens and certificates anew; returns the way to go by them.

        :raises SettingsError: with everything wrong with them; nothing is changed.
        """
        access, context = _load(settings)

        def take_over() -> None:
            self._settings, self._access, self._context = settings, access, context

        return take_over

    def leave(self) -> None:
        """Leave the sockets to another process, and go on beside each Unix socket: as ``PATH.PID``.

        Connections are dropped a moment later, when what was asked for has been answered.
        """
        former, self._receptions = self._receptions, {}
        self._sockets.leave()
        if self._serve is None:
            return
        for name in _own_names(self.endpoints):
            try:
                self._sockets.change([*((each.name, each.tls) for each in self.listeners), (name, False)])
            except BindError as error:
                self.log.warn("control API: {problem}", problem=str(error))
        self._serve()
        self._farewell = self._serve.args[0].callLater(_FAREWELL, _drop, former)

    def stop(self) -> None:
        """Stop accepting and drop every connection; idempotent."""
        farewell, self._farewell = self._farewell, None
        if farewell is not None and farewell.active():
            farewell.func(*farewell.args)
            farewell.cancel()
        self._sockets.close()
        if self._api is not None:
            self._api.stop()
        _drop(self._receptions)
        self._receptions = {}
        self._api = None
        self._serve = None

    def _accept(self, reactor: Any, site: HttpSite) -> None:
        # Each with a limit of its own: whoever fills one port does not keep others from the rest.
        self._receptions = receptions = {
            listener: Reception(
                reactor,
                partial(_welcome, site),
                name="limit of connections to the control API",
                limit=_MAX_CONNECTIONS,
                handshake_timeout=self._settings.front.handshake_timeout,
                context=self._current_context,
            )
            for listener in self.listeners
        }
        self._sockets.accept(
            reactor,
            lambda listener, sock, address: receptions[listener].accept(sock, address, tls=listener.tls),
        )
        if self.listeners:
            addresses = ", ".join(listener.description for listener in self.listeners)
            self.log.info("control API is served on {addresses}", addresses=addresses)

    def _current_context(self) -> SSL.Context:
        assert self._context is not None
        return self._context


def _check_reach(listener: Listener) -> None:
    if not listener.tls and not is_loopback(listener.sock.getsockname()):
        raise BindError(
            f"cannot serve the control API on {listener.name}: without TLS, its address must be a loopback "
            "address or a Unix socket"
        )


def _own_names(endpoints: Iterable[ControlEndpoint]) -> Iterator[str]:
    """Endpoints beside Unix sockets that are this process's alone."""
    for each in endpoints:
        if isinstance(each.endpoint, UnixEndpoint) and not each.tls:
            try:
                path = parse_socket_path(f"{each.endpoint.path}.{os.getpid()}")
            except BadValueError:
                # Too long for the kernel; then there is none.
                continue
            yield str(attrs.evolve(each.endpoint, path=path))


def _drop(receptions: Mapping[Listener, Reception]) -> None:
    for reception in receptions.values():
        reception.close()


def _welcome(site: HttpSite, arrival: Arrival) -> Any:
    channel: Any = site.buildProtocol(arrival.stream.getPeer())
    channel.arrival = arrival
    return channel


def _default(environ: Mapping[str, str]) -> tuple[str, ...]:
    # There may be several directories; systemd separates them by colons.
    directory = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if not directory:
        return ()
    return (str(UnixEndpoint(parse_socket_path(f"{directory}/{_SOCKET}"), _MODE)),)


def _load(settings: Settings) -> tuple[Access, SSL.Context | None]:
    control = settings.control
    problems: list[Problem] = []
    tokens: tuple[Token, ...] = ()
    if control.tokens is not None:
        try:
            tokens = load_tokens(control.tokens)
        except SettingsError as error:
            problems += error.problems
    context = None
    if control.tls:
        try:
            context = _load_context(settings)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)
    access = Access(tokens=tokens, clients=control.clients, hosts=control.hosts, unix_role=control.unix_role)
    return access, context


def _load_context(settings: Settings) -> SSL.Context:
    control = settings.control
    if control.certificate is None:
        context = server_context(settings.tls, load_identity(settings.tls))
    else:
        identity = load_pair(control.certificate, control.key, "control")
        tls = attrs.evolve(settings.tls, certificate=control.certificate, key=control.key)
        context = server_context(tls, identity, "control.certificate")
    # Nothing is resumed: who shows a certificate shows it, and has it verified, on every connection.
    context.set_options(SSL.OP_NO_TICKET)
    if control.client_ca is not None:
        _ask_for_certificates(context, control.client_ca)
    return context


def _ask_for_certificates(context: SSL.Context, path: Path) -> None:
    problems: list[Problem] = []
    authorities = load_certificates(path, "control.client_ca", problems)
    if problems:
        raise SettingsError(problems)
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        try:
            store.add_cert(crypto.X509.from_cryptography(authority))
        except crypto.Error:
            text, remedy = "holds a certificate that OpenSSL refuses", "remove or replace it"
            raise SettingsError([Problem(path, "control.client_ca", text, remedy)]) from None
    # An authority that is listed is trusted by itself, wherever it stands in its chain.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    context.load_client_ca(os.fsencode(path))
    # One that is shown must be good. Who shows none may have a token.
    context.set_verify(SSL.VERIFY_PEER)
