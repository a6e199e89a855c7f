"""Certificates for tests, made when asked for: a root of our own, and server certificates that are right or wrong."""

import datetime as dt
import ssl
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


def _certificate(subject, issuer, key, issuer_key, *, names=(), days=1, is_root=False):
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(PEM)


@cache
def root():
    """The root's name, key and certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _certificate("test root", "test root", key, key, is_root=True)


def server_context(folder, *, names=("localhost",), days=1, is_trusted=True):
    """A server's context with a certificate for these names, signed by the root or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, issuer_key = ("test root", root()[0]) if is_trusted else ("localhost", key)
    chain = folder / "server.pem"
    chain.write_bytes(
        key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + _certificate("localhost", issuer, key, issuer_key, names=names, days=days)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def root_file(folder):
    """A file that holds the root's certificate, as AWS_CA_BUNDLE would name it."""
    path = folder / "root.pem"
    path.write_bytes(root()[1])
    return str(path)
