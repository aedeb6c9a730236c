"""Enrolment through the terminal: the request is printed, and the certificate's chain is pasted."""

from __future__ import annotations

from typing import Final

from gateway.setup.asking.interview import Interview
from gateway.setup.enrolling.commandline import enrol_text, own_sign_text, request_name
from gateway.setup.enrolling.enrolment import Judge, Wanted
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import AnswerError, SetupError

__all__ = ["enrol_inline"]

_REQUEST: Final = "WSP_CERTIFICATE_REQUEST"
_CHAIN: Final = "OVESETUP_CONFIG/wspCertificateChain"
"""Name of the question, and of the key that may answer it."""
_ATTEMPTS: Final = 1000


def enrol_inline(
    interview: Interview,
    wanted: Wanted,
    request: bytes,
    judge: Judge,
    tools: Tools,
    prefix: str | None = None,
) -> bytes:
    """Print the request, say what is to be done with it, and read the certificate.

    :param request: PEM.
    :param prefix: what subjects of the CA begin with, if that is known.
    :returns: the certificate's chain, PEM.
    :raises SetupError: the input ended, or what was given in advance will not do.
    """
    interview.show(_REQUEST, request.decode("ascii").splitlines())
    _instruct(interview, wanted, tools, prefix)
    given = interview.environment.get(_CHAIN) is not None
    for number in range(1, _ATTEMPTS + 1):
        answered = interview.environment.get(f"QUESTION/{number}/{_CHAIN}") is not None
        lines = interview.collect(
            _CHAIN, "Paste the certificate, and behind it, if you like, that of its issuer.", key=_CHAIN
        )
        try:
            return judge.accept("\n".join(lines).encode("utf-8", "replace") + b"\n")
        except AnswerError as error:
            again = interview.environment.get(f"QUESTION/{number + 1}/{_CHAIN}") is not None
            if given or (answered and not again):
                raise SetupError(f"{_CHAIN}: {error}") from None
            interview.error(f"This will not do: {error}")
    raise SetupError(f"no right certificate in {_ATTEMPTS} attempts")


def _instruct(interview: Interview, wanted: Wanted, tools: Tools, prefix: str | None) -> None:
    pki, name = tools.remote_pki, request_name(wanted.fqdn)
    lines = [
        f"This is the request for {wanted.fqdn}'s certificate. As root on {wanted.engine}, paste it into",
        f"  {pki}/requests/{name}.req",
        "sign it:",
        *(f"  {line}" for line in enrol_text(wanted.fqdn, prefix, tools)),
        "or, where console-gateway is installed there (--directory says where its CA is, if it has its own):",
        *(f"  {line}" for line in own_sign_text(wanted.fqdn, prefix)),
        "and show the certificate, to paste it here:",
        f"  cat {pki}/certs/{name}.cer",
    ]
    interview.note("\n".join(lines))
