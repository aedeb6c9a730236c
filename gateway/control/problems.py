"""What can go wrong between a command and the control API, and what helps."""

from __future__ import annotations

import errno
import http
import itertools
import socket
import ssl
from collections.abc import Iterable
from typing import Final

from gateway.settings import one_line

__all__ = ["MAX_REASON", "ControlError", "explain", "not_ours", "remedy", "words"]

MAX_REASON: Final = 400
"""Characters of somebody else's explanation that are shown."""
MAX_PROBLEMS: Final = 100
"""Problems that are shown, where there is a list of them."""


class ControlError(Exception):
    """The control API could not be asked, or said no.

    ``str()`` is one printable line that says what is wrong and, where anything is known to help, what to do.

    :ivar status: the HTTP status of the answer, if there was one.
    :ivar problems: everything that is wrong, a printable line each, where the gateway says more than one
        thing.
    """

    def __init__(
        self, problem: str, remedy: str = "", status: int | None = None, problems: Iterable[object] = ()
    ) -> None:
        text = f"{problem.rstrip('.')}. {remedy}" if remedy else problem
        super().__init__(one_line(text))
        self.status = status
        self.problems = tuple(
            one_line(str(each))[:MAX_REASON] for each in itertools.islice(problems, MAX_PROBLEMS)
        )


def explain(address: object, error: OSError, *, unix: bool) -> ControlError:
    """What went wrong with a connection, and what helps.

    :param unix: it is one to a Unix socket.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return ControlError(
            f"{address}: its certificate is not trusted: {error.verify_message}",
            "Name the authority that issued it with --ca, and the gateway by a name in the certificate.",
        )
    if isinstance(error, ssl.SSLError):
        return ControlError(
            f"{address}: no secure connection: {words(error)}",
            "Is that an address of control.tls, and does it want a client certificate (--cert)?",
        )
    if isinstance(error, TimeoutError):
        return ControlError(
            f"{address}: no answer in time", "Is the gateway overloaded, or a firewall in between?"
        )
    if unix:
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
            what = "there is no such socket" if error.errno != errno.ECONNREFUSED else "nobody listens there"
            return ControlError(
                f"{address}: {what}",
                "Is the gateway running? If it listens elsewhere (control.listen), name that with --socket.",
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return ControlError(
                f"{address}: you may not connect to it",
                "Become root or a member of the group that the socket belongs to.",
            )
    if isinstance(error, socket.gaierror):
        return ControlError(f"{address}: the name cannot be resolved", "Correct --url.")
    if isinstance(error, ConnectionRefusedError):
        return ControlError(
            f"{address}: nobody listens there", "Is the gateway running, with this address in control.tls?"
        )
    return ControlError(f"{address}: {words(error)}")


def words(error: Exception) -> str:
    """What an exception of OpenSSL or the system says."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    text = (error.strerror or str(error)) if isinstance(error, OSError) else ""
    return (text or type(error).__name__)[:MAX_REASON]


def not_ours(address: object, status: int | None = None) -> ControlError:
    """Something else answers at an address."""
    said = "" if status is None else f" (HTTP status {status})"
    return ControlError(
        f"{address}: what answers there is not the control API of a gateway{said}",
        "Name its socket with --socket or its address with --url.",
        status,
    )


def remedy(status: int, *, certificates: bool) -> str:
    """What helps against a refusal, in the words of a command.

    :param certificates: a client certificate would do as well as a token.
    """
    match status:
        case http.HTTPStatus.UNAUTHORIZED if not certificates:
            return "Name a file with a token that the gateway knows with --token-file."
        case http.HTTPStatus.UNAUTHORIZED:
            return (
                "Name a file with a token that the gateway knows with --token-file, or a client certificate "
                "that it accepts with --cert."
            )
        case http.HTTPStatus.FORBIDDEN:
            return "This needs the role 'operate'; 'console-gateway status' shows yours."
        case http.HTTPStatus.TOO_MANY_REQUESTS:
            return "Try again later."
    return ""
