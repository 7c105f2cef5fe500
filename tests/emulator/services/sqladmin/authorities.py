"""Server certificate authorities of an instance: one when it is made, one more that is rotated in, and back.

Sources: https://cloud.google.com/sql/docs/postgres/authorize-ssl ("Google Cloud SQL Server CA", ten years),
https://cloud.google.com/sql/docs/postgres/manage-ssl-instance#manage-server-certs (add, rotate, roll back), the
reference of `instances.addServerCa`, `listServerCas` and `rotateServerCa`. Which one is next and which one was before
is told by `createTime`, as gcloud does (api_lib/sql/ssl/server_ca_certs.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.emulator.backing import SqlBacking
from tests.emulator.clock import rfc3339
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.sqladmin.answers import refused
from tests.emulator.services.sqladmin.base import SqlKind
from tests.emulator.world import Record

LIFE = timedelta(days=3650)
COMMON = "Google Cloud SQL Server CA"
"""All have this name; a qualifier of its own in each tells a verifier which one has signed.

Source: the instance printed in ansible-collections/google.cloud#476.
"""


@dataclass(frozen=True)
class Authority:
    """One of an instance's authorities: what the API shows of it, and its key as PEM, which it never shows."""

    shown: Body
    key: str

    @property
    def fingerprint(self) -> str:
        return str(self.shown["sha1Fingerprint"])

    def issue(self, common: str) -> tuple[str, str]:
        """A server certificate and its key, as PEM.

        It names the instance and no host, so clients can verify the authority alone (verify-ca). Sources:
        authorize-ssl, denisenkom/go-mssqldb#704 (PROJECT:INSTANCE).
        """
        own = x509.load_pem_x509_certificate(self.shown["cert"].encode())
        signing = serialization.load_pem_private_key(self.key.encode(), None)
        assert isinstance(signing, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        begins, ends = own.not_valid_before_utc, own.not_valid_after_utc
        builder = _builder(_name(common), own.subject, key, begins, ends)
        made = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        return _pem(made.sign(signing, hashes.SHA256())), _key_pem(key)


def new_authority(instance: str, now: datetime) -> Authority:
    """An authority of the instance's own."""
    key, qualifier = ec.generate_private_key(ec.SECP256R1()), str(uuid.uuid4())
    own = _name(COMMON, qualifier)
    builder = _builder(own, own, key, now, now + LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = builder.sign(key, hashes.SHA256())
    shown = {
        "kind": "sql#sslCert",
        "instance": instance,
        "commonName": f"C=US,O=Google\\, Inc,CN={COMMON},dnQualifier={qualifier}",
        "cert": _pem(made).strip(),
        "certSerialNumber": str(made.serial_number),
        "createTime": rfc3339(now),
        "expirationTime": rfc3339(now + LIFE),
        "sha1Fingerprint": made.fingerprint(hashes.SHA1()).hex(),
    }
    return Authority(shown, _key_pem(key))


def certified(part: SqlBacking, instance: Record, authority: Authority | None = None) -> None:
    """Have the real part show a certificate of this authority, or of the one that is in use."""
    using = authority or active(instance)
    part.certify(instance.name, *using.issue(f"{instance.body['project']}:{instance.body['name']}"))


def known(instance: Record) -> list[Authority]:
    """The instance's authorities, the oldest first."""
    found: list[Authority] = instance.hidden["authorities"]
    return found


def active(instance: Record) -> Authority:
    """The authority of the certificate in use."""
    fingerprint = instance.body["serverCaCert"]["sha1Fingerprint"]
    return next(each for each in known(instance) if each.fingerprint == fingerprint)


class InstanceAuthorities(SqlKind):
    """What an instance's callers verify it by. Authorities of Google's CA service (`…ServerCertificate`): 501."""

    collection = "sql.instances"
    owns_records = False

    @on("listServerCas", "cloudsql.instances.listServerCas")
    def listed(self, call: Call) -> Body:
        instance = self.instance(call)
        shown = [each.shown for each in known(instance)]
        return {"kind": "sql#instancesListServerCas", "certs": shown, "activeVersion": active(instance).fingerprint}

    @on("addServerCa", "cloudsql.instances.addServerCa")
    def add(self, call: Call) -> Body:
        """One that was added and never rotated in is replaced."""
        instance = self.idle(self.running(call))

        def added() -> None:
            new = new_authority(instance.body["name"], self.cloud.world.clock.now())
            instance.hidden["authorities"] = [*_until(known(instance), active(instance)), new]

        return self.begin(call, "UPDATE", instance, added)

    @on("rotateServerCa", "cloudsql.instances.rotateServerCa")
    def rotate(self, call: Call) -> Body:
        """To the one added last, or to the one that is named, such as the one before. No source for the words."""
        instance = self.idle(self.running(call))
        before, last = active(instance), known(instance)[-1]
        wanted = call.body.get("rotateServerCaContext", {}).get("nextVersion") or last.fingerprint
        following = next((each for each in known(instance) if each.fingerprint == wanted), before)
        if following == before:
            raise refused("There is no server CA certificate to rotate to")

        def rotated() -> None:
            instance.hidden["authorities"] = [each for each in known(instance) if each in (before, following)]
            instance.body["serverCaCert"] = following.shown

        return self.begin(call, "UPDATE", instance, rotated, lambda part: certified(part, instance, following))


def _until(authorities: Sequence[Authority], last: Authority) -> Sequence[Authority]:
    return authorities[: authorities.index(last) + 1]


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)


def _name(common: str, qualifier: str = "") -> x509.Name:
    named = [(NameOID.COMMON_NAME, common), (NameOID.ORGANIZATION_NAME, "Google, Inc"), (NameOID.COUNTRY_NAME, "US")]
    named = [(NameOID.DN_QUALIFIER, qualifier), *named] if qualifier else named
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in named])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


KINDS = (InstanceAuthorities,)
