"""What an engine has in ``/etc/pki/ovirt-engine``, made by ``openssl``, and how it signs requests.

The layout is the engine's, and so are the command's options, names and
defaults; its authority is OpenSSL's own ``ca`` command.  A file ``refuse`` has
the command fail, and a file ``wait`` has it wait as long as it is there.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

__all__ = ["ENROL", "PKI", "install_engine_pki", "load_certificate", "load_rsa_key"]

PKI: Final = "etc/pki/ovirt-engine"
ENROL: Final = "usr/share/ovirt-engine/bin/pki-enroll-request.sh"

_OPENSSL = """\
[ca]
default_ca = engine

[engine]
dir = $ENV::ENGINE_PKI
database = $dir/database.txt
new_certs_dir = $dir/certs
serial = $dir/serial.txt
certificate = $dir/ca.pem
private_key = $dir/private/ca.pem
default_md = sha256
policy = anything
unique_subject = no

[anything]
countryName = optional
organizationName = optional
organizationalUnitName = optional
commonName = optional

[req]
distinguished_name = nothing
[nothing]

[authority]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always,issuer:always
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
"""

_CERTIFICATE = """\
[v3_ca]
subjectKeyIdentifier = hash
authorityInfoAccess = caIssuers;URI:http://{engine}:80/ovirt-engine/services/pki-resource\
?resource=ca-certificate&format=X509-PEM-CA
authorityKeyIdentifier = keyid,issuer
basicConstraints = CA:false
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = critical,serverAuth,clientAuth

[v3_ca_san]
subjectKeyIdentifier = hash
authorityInfoAccess = caIssuers;URI:http://{engine}:80/ovirt-engine/services/pki-resource\
?resource=ca-certificate&format=X509-PEM-CA
authorityKeyIdentifier = keyid,issuer
basicConstraints = CA:false
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = critical,serverAuth,clientAuth
subjectAltName = $ENV::ENROL_SAN
"""

_SCRIPT = r"""#!/bin/sh
# Signs requests/NAME.req of the engine's PKI; the certificate is certs/NAME.cer.
set -eu
export LC_ALL=C ENGINE_PKI="${ENGINE_PKI:-/etc/pki/ovirt-engine}"
pki="$ENGINE_PKI"
name= subject= days=1827 san="${OVIRT_SAN:-}" timeout=20 ca=ca certs=certs requests=requests

stop() { echo "FATAL: $1" >&2; exit 1; }

for argument; do
    value="${argument#*=}"
    case "$argument" in
        --name=*) name="$value" ;;
        --subject=*) subject="$value" ;;
        --days=*) days="$value" ;;
        --san=*) san="$value" ;;
        --timeout=*) timeout="$value" ;;
        --ca-file=*) ca="$value" ;;
        --cert-dir=*) certs="$value" ;;
        --req-dir=*) requests="$value" ;;
        *) stop "unknown option $argument" ;;
    esac
done
[ -n "$name" ] || stop "--name is missing"
if [ -f "$pki/refuse" ]; then stop "the authority is closed today"; fi
turns=0
while [ -f "$pki/wait" ] && [ $turns -lt 300 ]; do turns=$((turns + 1)); sleep 0.1; done
request="$pki/$requests/$name.req"
certificate="$pki/$certs/$name.cer"
[ -f "$request" ] || stop "no request $request"
if [ -f "$certificate" ]; then cp "$certificate" "$certificate.$(date -u +%Y%m%d%H%M%S)"; fi

profile=v3_ca
if [ -n "$san" ]; then profile=v3_ca_san; fi
# Every variable that the file of extensions mentions has to be there.
export ENROL_SAN="$san"
set -- -batch -config "$pki/openssl.conf" -extfile "$pki/cert.conf" -extensions "$profile"
set -- "$@" -in "$request" -out "$certificate"
begin=$(date -u -d '1 day ago' +%y%m%d%H%M%SZ)
end=$(date -u -d "$days days" +%y%m%d%H%M%SZ)
set -- "$@" -startdate "$begin" -enddate "$end"
if [ -n "$subject" ]; then set -- "$@" -utf8 -subj "$subject"; fi

exec 9<"$pki/$ca.pem"
flock -w "$timeout" 9 || stop "the authority is busy"
openssl ca "$@" || stop "cannot sign $request"
chmod a+r "$certificate"
"""


def install_engine_pki(root: Path, engine: str) -> None:
    """Give the host whose root directory is ``root`` an engine's PKI and the command that signs."""
    made = _made(engine)
    for name in (PKI, "usr/share/ovirt-engine"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made / name, root / name, symlinks=True, dirs_exist_ok=True)


def load_certificate(path: Path) -> x509.Certificate:
    """The certificate of a file, which may have text before it."""
    data = path.read_bytes()
    return x509.load_pem_x509_certificate(data[data.index(b"-----BEGIN") :])


def load_rsa_key(path: Path) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@functools.cache
def _made(engine: str) -> Path:
    """Both trees, made once in a process."""
    kept = tempfile.TemporaryDirectory(prefix="console-gateway-engine-")
    _KEPT.append(kept)
    root = Path(kept.name)
    pki = root / PKI
    for name in ("certs", "keys", "private", "requests"):
        (pki / name).mkdir(parents=True)
    (pki / "private").chmod(0o750)
    (pki / "openssl.conf").write_text(_OPENSSL)
    (pki / "cert.conf").write_text(_CERTIFICATE.format(engine=engine))
    (pki / "serial.txt").write_text("1000\n")
    (pki / "database.txt").touch()
    (pki / "apache-ca.pem").symlink_to(f"/{PKI}/ca.pem")
    script = root / ENROL
    script.parent.mkdir(parents=True)
    script.write_text(_SCRIPT)
    script.chmod(0o755)
    _openssl(
        pki,
        *f"req -new -x509 -newkey rsa:2048 -nodes -keyout {pki}/private/ca.pem -out {pki}/ca.pem -days 7300 "
        f"-config {pki}/openssl.conf -extensions authority".split(),
        "-subj",
        f"/C=US/O=Example Inc./CN={engine}.12345",
    )
    (pki / "private/ca.pem").chmod(0o600)
    for name, san in (("engine", ""), ("apache", f"DNS:{engine}")):
        _issue(root, name, engine, san)
    return root


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def _issue(root: Path, name: str, engine: str, san: str) -> None:
    """A key and a certificate of one of the engine's own services, by its own command."""
    pki = root / PKI
    key = pki / f"keys/{name}.key.nopass"
    request = pki / f"requests/{name}.req"
    _openssl(pki, *f"req -new -newkey rsa:2048 -nodes -keyout {key} -out {request} -subj /CN={name}".split())
    key.chmod(0o600)
    command = [
        str(root / ENROL),
        f"--name={name}",
        f"--subject=/C=US/O=Example Inc./CN={engine}",
        "--days=398",
    ]
    _run(pki, *command, *([f"--san={san}"] if san else []))


def _openssl(pki: Path, *arguments: str) -> None:
    _run(pki, "openssl", *arguments)


def _run(pki: Path, *command: str) -> None:
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ENGINE_PKI": str(pki)}
    done = subprocess.run(command, env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
