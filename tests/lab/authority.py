"""The certificate authority of a lab: it signs for the names that are Google's there; its machines believe it."""

from __future__ import annotations

from pathlib import Path

from tests.tls import Authority, authority

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Debian's bundle: here, and in every machine."""
BELIEVING = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
"""Variables by which programs with a bundle of their own are told to use the machine's."""


class LabAuthority:
    """The authority with its files, all under one folder of the lab's.

    Attributes:
        signing: Signs: `signing.write(path, *names)` is a key and a certificate in one file, `signing.issue` a context.
        certificate: File with the authority's own certificate.
        bundle: File with what this machine believes, and the authority's certificate: the bundle of a machine.
    """

    def __init__(self, folder: Path, name: str = "The lab's authority") -> None:
        self.signing: Authority = authority(name)
        self.certificate = folder / "authority.pem"
        self.bundle = folder / "bundle.pem"
        self.certificate.write_text(self.signing.pem)
        known = CERTIFICATES.read_text() if CERTIFICATES.exists() else ""
        self.bundle.write_text(known + self.signing.pem)


def believing(bundle: str = str(CERTIFICATES)) -> dict[str, str]:
    """The environment of a program that is to believe what is in a bundle."""
    return dict.fromkeys(BELIEVING, bundle)
