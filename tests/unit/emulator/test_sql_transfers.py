"""Exports to and imports from Cloud Storage, through google.cloud.sqladmin_v1 and google-cloud-storage.

Sources: https://cloud.google.com/sql/docs/postgres/import-export/import-export-sql, import-export-dmp,
admin-api-error-messages (ERROR_GCS_BUCKET_PERMISSION_DENIAL).
"""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument, MethodNotImplemented, NotFound, PermissionDenied
from google.cloud import storage

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import Grpc

PLAIN = b"CREATE TABLE public.one (id integer);\n"


@pytest.fixture
def sql(google: Emulated) -> Grpc:
    """An instance with a database and a user `prefect`."""
    grpc = Grpc(google)
    grpc.made()
    grpc.databases.insert(request=of(grpc, body={"name": "prefect"}))
    grpc.users.insert(request=of(grpc, body={"name": "prefect", "password": "secret"}))
    return grpc


@pytest.fixture
def bucket(google: Emulated, sql: Grpc) -> storage.Bucket:
    """A bucket that the instance's service account may read and write."""
    client = storage.Client(
        project=google.project, credentials=google.credentials, client_options=google.options("storage")
    )
    made = client.bucket(f"{google.project}-dumps")
    made.iam_configuration.uniform_bucket_level_access_enabled = True
    made = client.create_bucket(made, location="EU")
    account = sql.read().service_account_email_address
    google.cloud.access.grant(
        f"projects/_/buckets/{made.name}", "roles/storage.objectAdmin", f"serviceAccount:{account}"
    )
    return made


def of(sql: Grpc, **more: Any) -> dict[str, Any]:
    return {"project": sql.google.project, "instance": "db", **more}


def exported(sql: Grpc, uri: str, **more: Any) -> Any:
    context = {"file_type": "SQL", "uri": uri, "databases": ["prefect"], **more}
    return sql.instances.export(request=of(sql, body={"export_context": context}))


def imported(sql: Grpc, uri: str, **more: Any) -> Any:
    context = {"file_type": "SQL", "uri": uri, "database": "prefect", "import_user": "prefect", **more}
    return sql.instances.import_(request=of(sql, body={"import_context": context}))


def errors_of(operation: Any) -> list[tuple[str, str]]:
    return [(each.code, each.message) for each in operation.error.errors]


def test_an_export_writes_an_object_and_an_import_reads_it(sql: Grpc, bucket: storage.Bucket) -> None:
    uri = f"gs://{bucket.name}/one.sql"
    operation = exported(sql, uri)
    assert (operation.operation_type.name, operation.export_context.uri) == ("EXPORT", uri)
    assert bucket.blob("one.sql").download_as_bytes().startswith(b"--\n-- PostgreSQL database dump")
    assert errors_of(imported(sql, uri)) == []


def test_a_compressed_export(sql: Grpc, bucket: storage.Bucket) -> None:
    uri = f"gs://{bucket.name}/one.sql.gz"
    exported(sql, uri)
    assert gzip.decompress(bucket.blob("one.sql.gz").download_as_bytes(raw_download=True)).startswith(b"--")
    assert errors_of(imported(sql, uri)) == []


def test_an_object_that_is_there_fails_the_operation_only(sql: Grpc, bucket: storage.Bucket) -> None:
    bucket.blob("one.sql").upload_from_string(PLAIN)
    ((code, message),) = errors_of(exported(sql, f"gs://{bucket.name}/one.sql"))
    assert (code, "already exists" in message) == ("ERROR_RDBMS", True)
    assert bucket.blob("one.sql").download_as_bytes() == PLAIN


@pytest.mark.parametrize("act", [exported, imported])
def test_the_instance_needs_the_bucket(sql: Grpc, bucket: storage.Bucket, act: Any) -> None:
    """It is the instance's own account that is asked, not the caller's, who owns the bucket."""
    bucket.blob("one.sql").upload_from_string(PLAIN)
    sql.google.cloud.access.policies.pop(f"projects/_/buckets/{bucket.name}")
    with pytest.raises(
        PermissionDenied, match="The service account does not have the required permissions for the bucket"
    ):
        act(sql, f"gs://{bucket.name}/one.sql")
    with pytest.raises(
        PermissionDenied, match="The service account does not have the required permissions for the bucket"
    ):
        act(sql, "gs://no-such-bucket/one.sql")


def test_reading_is_not_writing(sql: Grpc, bucket: storage.Bucket) -> None:
    bucket.blob("one.sql").upload_from_string(PLAIN)
    name, account = f"projects/_/buckets/{bucket.name}", sql.read().service_account_email_address
    sql.google.cloud.access.policies.pop(name)
    sql.google.cloud.access.grant(name, "roles/storage.objectViewer", f"serviceAccount:{account}")
    assert errors_of(imported(sql, f"gs://{bucket.name}/one.sql")) == []
    with pytest.raises(PermissionDenied):
        exported(sql, f"gs://{bucket.name}/two.sql")


def test_a_file_that_is_not_there(sql: Grpc, bucket: storage.Bucket) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        imported(sql, f"gs://{bucket.name}/nothing.sql")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PGDMP\x01\x0f", "The input is a PostgreSQL custom-format dump."),
        (b"\\restrict abc\n" + PLAIN, r"invalid command \restrict"),
        (b"COMMENT ON EXTENSION pg_trgm IS 'text';\n", "ERROR:  must be owner of extension pg_trgm"),
        (b"ALTER TABLE public.one OWNER TO stranger;\n", 'ERROR:  role "stranger" does not exist'),
        (b"GRANT ALL ON TABLE public.one TO stranger;\n", 'ERROR:  role "stranger" does not exist'),
    ],
)
def test_dumps_that_psql_stops_at(sql: Grpc, bucket: storage.Bucket, content: bytes, words: str) -> None:
    bucket.blob("one.sql").upload_from_string(content)
    ((code, message),) = errors_of(imported(sql, f"gs://{bucket.name}/one.sql"))
    assert (code, message.startswith(words)) == ("ERROR_RDBMS", True), message


@pytest.mark.parametrize(
    ("more", "words"),
    [({"database": "nowhere"}, 'database "nowhere" does not exist'), ({"import_user": "nobody"}, 'role "nobody" does')],
)
def test_where_to_and_as_whom(sql: Grpc, bucket: storage.Bucket, more: dict[str, str], words: str) -> None:
    bucket.blob("one.sql").upload_from_string(PLAIN)
    ((_, message),) = errors_of(imported(sql, f"gs://{bucket.name}/one.sql", **more))
    assert words in message


def test_what_is_imported_belongs_to_its_user(sql: Grpc, bucket: storage.Bucket) -> None:
    bucket.blob("one.sql").upload_from_string(PLAIN)
    imported(sql, f"gs://{bucket.name}/one.sql")
    with pytest.raises(InvalidArgument, match="cannot be dropped because some objects depend on it"):
        sql.users.delete(request=of(sql, name="prefect"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"databases": []}, "requires that you specify exactly one database"),
        ({"file_type": "SQL_FILE_TYPE_UNSPECIFIED"}, "The export file type is unknown."),
        ({"uri": "https://example.com/one.sql"}, "Invalid Cloud Storage URI"),
    ],
)
def test_exports_that_are_refused(sql: Grpc, bucket: storage.Bucket, more: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        exported(sql, **{"uri": f"gs://{bucket.name}/one.sql", **more})


def test_csv_is_not_emulated(sql: Grpc, bucket: storage.Bucket) -> None:
    with pytest.raises(MethodNotImplemented, match="not emulated"):
        exported(sql, f"gs://{bucket.name}/one.csv", file_type="CSV")
