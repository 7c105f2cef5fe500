"""What whoever makes a stack must be allowed to do in its project, each with its reason; and what its host may do.

Source: https://cloud.google.com/iam/docs/permissions-reference, and the emulated project of the contract tests, where a
stack is made and removed with exactly these.
"""

from __future__ import annotations

from collections.abc import Mapping

from blocks.gcp.access import BUCKET_ROLES, SECRET_ROLES
from blocks.gcp.machine import ROLES as PROJECT_ROLES

REASONS: Mapping[str, str] = {
    "the project, and which of Google's APIs are enabled in it": """
        resourcemanager.projects.get serviceusage.operations.get serviceusage.services.enable
        serviceusage.services.get serviceusage.services.list serviceusage.services.use""",
    "accounts for machine and proxy, which run as these and as nobody else": """
        iam.serviceAccounts.actAs iam.serviceAccounts.create iam.serviceAccounts.delete iam.serviceAccounts.enable
        iam.serviceAccounts.get""",
    "the few roles of those accounts in the project; whoever has this one may give itself any role: Google has none "
    "that is narrower": """
        resourcemanager.projects.getIamPolicy resourcemanager.projects.setIamPolicy""",
    "the stack's own network, its two subnetworks and who reaches whom": """
        compute.addresses.createInternal compute.addresses.deleteInternal compute.addresses.get
        compute.addresses.useInternal compute.firewalls.create compute.firewalls.delete compute.firewalls.get
        compute.firewalls.update compute.globalOperations.get compute.networks.create compute.networks.delete
        compute.networks.get compute.networks.update compute.networks.updatePolicy compute.networks.use
        compute.regionOperations.get compute.regions.get compute.routers.create compute.routers.delete
        compute.routers.get compute.routers.update compute.subnetworks.create compute.subnetworks.delete
        compute.subnetworks.get compute.subnetworks.setPrivateIpGoogleAccess compute.subnetworks.update
        compute.subnetworks.use compute.projects.get""",
    "the connection to Google's services, by which Cloud SQL has an address in that network alone; not in Editor": """
        compute.globalAddresses.createInternal compute.globalAddresses.deleteInternal compute.globalAddresses.get
          compute.networks.removePeering
        servicenetworking.operations.get servicenetworking.services.addPeering
        servicenetworking.services.deleteConnection servicenetworking.services.get""",
    "the machine": """
        compute.disks.create compute.disks.get compute.disks.resize compute.disks.setLabels compute.disks.update
        compute.instances.create compute.instances.delete compute.instances.deleteAccessConfig compute.instances.get
        compute.instances.getSerialPortOutput compute.instances.setDeletionProtection compute.instances.setLabels
        compute.instances.setMachineType compute.instances.setMetadata compute.instances.setServiceAccount
        compute.instances.start compute.instances.stop compute.instances.updateShieldedInstanceConfig
        compute.machineTypes.get compute.zoneOperations.get""",
    "the database": """
        cloudsql.instances.create cloudsql.instances.delete cloudsql.instances.get cloudsql.instances.listServerCas
        cloudsql.instances.update cloudsql.users.create cloudsql.users.list cloudsql.users.update""",
    "the bucket with the stack's own record, its releases and its backups": """
        storage.buckets.create storage.buckets.delete storage.buckets.get storage.buckets.getIamPolicy
        storage.buckets.list storage.buckets.setIamPolicy storage.buckets.update storage.objects.create
        storage.objects.delete storage.objects.get storage.objects.list""",
    "the secrets": """
        secretmanager.secrets.create secretmanager.secrets.delete secretmanager.secrets.get
        secretmanager.secrets.getIamPolicy secretmanager.secrets.setIamPolicy secretmanager.secrets.update
        secretmanager.versions.access secretmanager.versions.add secretmanager.versions.destroy
        secretmanager.versions.list""",
    "the proxy's image": """
        artifactregistry.repositories.create artifactregistry.repositories.delete
        artifactregistry.repositories.downloadArtifacts artifactregistry.repositories.get
        artifactregistry.repositories.update artifactregistry.repositories.uploadArtifacts artifactregistry.tags.get
        cloudbuild.builds.create cloudbuild.builds.get""",
    "the proxy, open to whoever has the auth string: run.services.setIamPolicy is not in Editor": """
        run.operations.get run.services.create run.services.delete run.services.get run.services.setIamPolicy
        run.services.update""",
    "a domain of yours before it": """
        run.domainmappings.create run.domainmappings.delete run.domainmappings.get run.domainmappings.list""",
}
"""Why → what for it, as Google names it."""
DEPLOYER: Mapping[str, str] = {each: why for why, listed in sorted(REASONS.items()) for each in listed.split()}
"""Permission → why whoever makes, changes and removes a stack needs it in its project."""
HOST: Mapping[str, str] = {
    **dict.fromkeys(PROJECT_ROLES, "in the project: what Google's agents on the machine write"),
    **dict.fromkeys(BUCKET_ROLES, "on the stack's bucket alone"),
    **dict.fromkeys(SECRET_ROLES, "on each of the stack's secrets alone"),
}
"""Role → where the machine's own account has it. The stack gives them; it has no right to give any."""


def custom_role(project: str) -> str:
    """A role with what the deployer needs, as YAML which gcloud reads; comments say how, why, and what the host may."""
    make = f"gcloud iam roles create selfhost --project {project} --file role.yaml"
    give = f"gcloud projects add-iam-policy-binding {project} --role projects/{project}/roles/selfhost"
    head = ["# This as role.yaml, an owner of the project calls:", f"#   {make}", f"#   {give} --member user:YOU", ""]
    head += ["title: selfhost", "description: Makes, changes and removes a self-hosted Prefect.", "stage: GA"]
    needed = [f"- {each} # {why}" for each, why in sorted(DEPLOYER.items())]
    host = [f"#   {each}: {where}" for each, where in HOST.items()]
    return "\n".join([*head, "includedPermissions:", *needed, "", "# What the machine's own account is given:", *host])
