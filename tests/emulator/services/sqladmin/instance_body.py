"""The body of a new instance: its checks, and what Cloud SQL fills in.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances and create-instance.
"""

from __future__ import annotations

import hashlib
import re

from tests.emulator import errors, quotas
from tests.emulator.clock import rfc3339
from tests.emulator.cloud import REGIONS, Cloud
from tests.emulator.kind import Body
from tests.emulator.services.sqladmin import private_ip, settings
from tests.emulator.services.sqladmin.answers import BASE, etag, refused
from tests.emulator.services.sqladmin.authorities import new_authority
from tests.emulator.services.sqladmin.settings import Place
from tests.emulator.world import Project, Record

NAME = r"[a-z]([-a-z0-9]*[a-z0-9])?"
LONGEST = 98
"""Source: instance-settings: letters, numbers, hyphens; PROJECT:INSTANCE has 98 characters at most."""
NEWEST, OLDEST = 18, 9
ASKED_FOR_ONLY = (
    "diskEncryptionConfiguration",
    "failoverReplica",
    "geminiConfig",
    "masterInstanceName",
    "nodeCount",
    "onPremisesConfiguration",
    "replicaConfiguration",
    "replicationCluster",
    "switchTransactionLogsToCloudStorageEnabled",
    "tags",
)
"""Fields that make another kind of instance, none of which is emulated."""
AGENTS = "gcp-sa-cloud-sql.iam.gserviceaccount.com"


def new_instance(cloud: Cloud, project: Project, name: str, given: Body) -> Record:
    """The record of an instance that is to be made, all checks passed; it is not there yet."""
    _check_name(project.id, name)
    _check_free(cloud, project, name)
    _check_emulated(given)
    quotas.check_sql_instances(cloud, project)
    place = place_of(given)
    if "settings" not in given:
        raise refused("Missing parameter: settings")
    settings.check_emulated(given["settings"])
    wanted = settings.completed(given["settings"], place)
    settings.check(wanted, place)
    private_ip.check_connected(cloud, project.id, name, wanted)
    wanted["settingsVersion"] = "1"
    authority = new_authority(name, cloud.world.clock.now())
    body = _described(cloud, project, name, given, place) | {"serverCaCert": authority.shown, "settings": wanted}
    full = f"sql/projects/{project.id}/instances/{name}"
    return Record(full, "sql.instances", body, {"authorities": [authority]})


def place_of(given: Body) -> Place:
    """PostgreSQL's major version and the region; what is not PostgreSQL is not emulated."""
    version = given.get("databaseVersion") or "MYSQL_8_0"
    found = re.fullmatch(r"POSTGRES_(\d+)(_\d+)?", version)
    if found is None or not OLDEST <= int(found[1]) <= NEWEST:
        raise errors.not_emulated(f"sql.instances with databaseVersion {version}")
    region = given.get("region") or "us-central1"
    if region not in REGIONS:
        raise refused(f"Invalid value for region: {region}")
    return Place(int(found[1]), region)


def _check_name(project: str, name: str) -> None:
    """Source: hashicorp/terraform-provider-google#5506 for an empty one; no source for the words on the others."""
    if not name:
        raise refused(f"Invalid full instance name: {project}:")
    if not re.fullmatch(NAME, name) or len(f"{project}:{name}") > LONGEST:
        raise refused(f"Invalid instance name ({name})")


def _check_free(cloud: Cloud, project: Project, name: str) -> None:
    """A name is taken while its instance is there, and for a week after.

    Today's documentation lets a deleted name be used again at once
    (https://cloud.google.com/sql/docs/postgres/delete-instance), yet cloudfoundry/bosh#2741 was still refused in 2026;
    the words are those of terraform-google-modules/terraform-google-gke-gitlab#81. What must cope with the worse case
    copes with both.
    """
    full = f"sql/projects/{project.id}/instances/{name}"
    if cloud.world.find(full) or cloud.world.holders(full):
        message = (
            "The Cloud SQL instance already exists. When you delete an instance, you can't reuse the name of the "
            "deleted instance until one week from the deletion date."
        )
        raise errors.ApiError(409, message, reason="instanceAlreadyExists")


def _check_emulated(given: Body) -> None:
    asked = [name for name in ASKED_FOR_ONLY if given.get(name)]
    if given.get("instanceType") not in (None, "CLOUD_SQL_INSTANCE"):
        asked.append("instanceType")
    if asked:
        raise errors.not_emulated(f"sql.instances with {asked[0]}")


def _described(cloud: Cloud, project: Project, name: str, given: Body, place: Place) -> Body:
    """All of the body but the settings and the addresses."""
    body = {
        "kind": "sql#instance",
        "name": name,
        "project": project.id,
        "region": place.region,
        "databaseVersion": given["databaseVersion"],
        "databaseInstalledVersion": f"POSTGRES_{place.major}_1",
        "maintenanceVersion": f"POSTGRES_{place.major}_1.R20260101.00_00",
        "state": "PENDING_CREATE",
        "backendType": "SECOND_GEN",
        "instanceType": "CLOUD_SQL_INSTANCE",
        "sqlNetworkArchitecture": "NEW_NETWORK_ARCHITECTURE",
        "connectionName": f"{project.id}:{place.region}:{name}",
        "selfLink": f"{BASE}/projects/{project.id}/instances/{name}",
        "serviceAccountEmailAddress": f"p{project.number}-{_letters(project.id, name)}@{AGENTS}",
        "createTime": rfc3339(cloud.world.clock.now()),
    }
    return body | {"etag": etag(body)}


def _letters(project: str, name: str) -> str:
    """Six letters and digits that are the instance's own, as in the name of its service account."""
    return hashlib.sha256(f"{project}:{name}".encode()).hexdigest()[:6]


def address_of(number: int) -> str:
    """A public address that looks like one of Google's; nothing answers there."""
    return f"34.{number >> 16 & 127 | 64}.{number >> 8 & 255}.{number & 255}"
