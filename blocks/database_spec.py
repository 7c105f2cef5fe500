"""The section of a spec that says where the data lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from blocks import addresses
from blocks.errors import WrongCall
from blocks.host import trusted

CERTIFICATE = "-----BEGIN CERTIFICATE-----"
"""First line of a certificate in PEM form."""


class Database(BaseModel):
    """Where the data lies. Left out: PostgreSQL of our own, as a wheel, in the home folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: str | None = Field(
        None,
        description="A PostgreSQL that is already there: postgresql://user@host:port/database, no password.",
    )
    password_file: str | None = Field(
        None, description="File with the password for `url`, readable by you alone; absolute."
    )
    sslmode: Literal["require", "verify-ca", "verify-full"] | None = Field(
        None,
        description="TLS to `url`, as libpq says it: encrypted; by a certificate of `sslrootcert`; and for the host in "
        "`url`. Left out: none is asked for.",
    )
    sslrootcert: str | None = Field(
        None,
        description="File with the certificates, PEM, of those who may have issued the database's; absolute. Read when "
        "the spec file is, and kept with the spec. Left out: those which this machine believes.",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else addresses.database_url(value)

    @field_validator("password_file")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        return absolute_path(value)

    @model_validator(mode="after")
    def _password_goes_with_url(self) -> Database:
        if (self.url is None) != (self.password_file is None):
            raise ValueError("url and password_file go together")
        return self

    @model_validator(mode="after")
    def _tls(self) -> Database:
        if self.sslmode and not self.url:
            raise ValueError("sslmode is for a url: our own PostgreSQL is reached on this machine alone")
        if self.sslmode == "verify-ca" and not self.sslrootcert:
            raise ValueError('sslmode = "verify-ca" goes with sslrootcert: else any certificate at all would do')
        if self.sslrootcert and self.sslmode not in ("verify-ca", "verify-full"):
            raise ValueError('sslrootcert is looked at with sslmode = "verify-ca" or "verify-full"')
        if self.sslrootcert and not self.sslrootcert.startswith(CERTIFICATE):
            raise ValueError("sslrootcert must be the absolute path of a file with certificates in PEM form")
        return self


def with_certificates(data: dict[str, Any]) -> dict[str, Any]:
    """The certificates instead of their file's path: what is wanted must not depend on a file of this machine's.

    Raises:
        WrongCall: the file cannot be read.
        Blocked: somebody else could have changed it.
    """
    database = data.get("database")
    if not isinstance(database, dict) or not str(database.get("sslrootcert")).startswith("/"):
        return data
    path = Path(str(database["sslrootcert"]))
    trusted.require_file(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = f"database.sslrootcert: {path} cannot be read: {error}"
        raise WrongCall(what, "give the path of a PEM file") from error
    start = max(text.find(CERTIFICATE), 0)  # some have words before the first one
    return {**data, "database": {**database, "sslrootcert": text[start:]}}


def absolute_path(value: str | None) -> str | None:
    if value is not None and not Path(value).is_absolute():
        raise ValueError(f"{value!r} is not an absolute path")
    return value
