"""Predefined roles with the permissions that matter here.

Source: what Google's API says of each role, as iann0036/iam-dataset records it (August 2026); for people:
https://cloud.google.com/iam/docs/roles-permissions. What a role holds for services and resources that are not emulated,
and for tag bindings, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Role:
    """A role's title and its permissions: `service.resource.verb`, where a part may be `a|b` or `*`; `-` takes away."""

    title: str
    permissions: tuple[str, ...]

    def holds(self, permission: str) -> bool:
        given, taken = self._patterns
        return bool(given.fullmatch(permission)) and not taken.fullmatch(permission)

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        taken = [each[1:] for each in self.permissions if each.startswith("-")]
        return _any_of(each for each in self.permissions if not each.startswith("-")), _any_of(taken)


def _any_of(permissions: Iterable[str]) -> re.Pattern[str]:
    parts = (each.replace(".", ")[.](").replace("*", "[^.]+") for each in permissions)
    return re.compile("|".join(f"({each})" for each in parts) or "(?!)")


def _roles(table: str) -> Iterator[tuple[str, Role]]:
    """A role begins with its name and title; indented lines are its permissions."""
    for name, title, body in re.findall(r"^(roles/\S+) (.+)\n((?: .+\n)+)", table, re.MULTILINE):
        yield name, Role(title, tuple(body.split()))


TABLE = """
roles/owner Owner
    artifactregistry.*.* cloudbuild.*.* cloudsql.*.* compute.*.* iam.*.*
    -iam.serviceAccounts.getAccessToken|getOpenIdToken|implicitDelegation|signBlob|signJwt logging.*.* monitoring.*.*
    resourcemanager.*.* -resourcemanager.projects.create run.*.* secretmanager.*.* servicenetworking.*.*
    serviceusage.*.* storage.buckets.create|delete|enableObjectRetention|getObjectInsights|list|restore
    storage.buckets.viewIntelligenceDetails storage.hmacKeys.*
roles/editor Editor
    artifactregistry.*.* -artifactregistry.repositories.setIamPolicy cloudbuild.*.* cloudsql.*.*
    -cloudsql.instances.manageEncryption compute.*.* -compute.*.setIamPolicy iam.*.get|list iam.serviceAccountKeys.*
    iam.serviceAccounts.actAs|create|delete|disable|enable|getIamPolicy|update logging.*.* monitoring.*.*
    resourcemanager.projects.get|getIamPolicy|list|move|searchPolicyBindings|update run.*.* -run.*.setIamPolicy
    secretmanager.*.* -secretmanager.secrets.setIamPolicy -secretmanager.versions.access servicenetworking.*.*
    -servicenetworking.services.addPeering serviceusage.*.* storage.buckets.create|delete|list|viewIntelligenceDetails
    storage.hmacKeys.*
roles/viewer Viewer
    artifactregistry.*.get|list artifactregistry.files.download
    artifactregistry.repositories.downloadArtifacts|exportArtifacts|getIamPolicy
    artifactregistry.repositories.readViaVirtualRepository cloudbuild.*.get|list cloudsql.*.export|get|list
    cloudsql.instances.createBackupDrBackup|getAgentSession|getDiskShrinkConfig|listAgentSessions
    cloudsql.instances.listEntraIdCertificates|listServerCas|listServerCertificates
    cloudsql.instances.preCheckMajorVersionUpgrade compute.*.get|getEffectiveFirewalls|getIamPolicy|list
    compute.disks.useReadOnly compute.images.getFromFamily|useReadOnly
    compute.instances.getGuestAttributes|getScreenshot|getSerialPortOutput|getShieldedInstanceIdentity
    compute.instances.getShieldedVmIdentity|getVmExtensionState|listReferrers|listVmExtensionStates
    compute.networks.getRegionEffectiveFirewalls|listPeeringRoutes
    compute.routers.getRoutePolicy|listBgpRoutes|listRoutePolicies compute.snapshots.getEffectiveRecycleBinRule
    iam.*.get|list iam.serviceAccounts.getIamPolicy logging.logEntries.download|list monitoring.*.* -monitoring.*.create
    -monitoring.metricDescriptors.delete resourcemanager.projects.get|getIamPolicy|list|searchPolicyBindings
    run.*.get|getIamPolicy|list|sshRead secretmanager.*.get|list secretmanager.secrets.getIamPolicy
    servicenetworking.*.get servicenetworking.operations.list
    servicenetworking.services.getConsumerConfig|getVpcServiceControls|listPeeredDnsDomains|use serviceusage.*.get
    serviceusage.services.list storage.buckets.list|viewIntelligenceDetails storage.hmacKeys.get|list
roles/browser Browser
    resourcemanager.projects.get|getIamPolicy|list
roles/compute.admin Compute Admin
    compute.*.* resourcemanager.projects.get|list serviceusage.quotas.get serviceusage.services.get|list
roles/compute.viewer Compute Viewer
    compute.*.get|getEffectiveFirewalls|getIamPolicy|list compute.images.getFromFamily
    compute.instances.getGuestAttributes|getScreenshot|getSerialPortOutput|getShieldedInstanceIdentity
    compute.instances.getShieldedVmIdentity|getVmExtensionState|listReferrers|listVmExtensionStates
    compute.networks.getRegionEffectiveFirewalls|listPeeringRoutes
    compute.routers.getRoutePolicy|listBgpRoutes|listRoutePolicies compute.snapshots.getEffectiveRecycleBinRule
    resourcemanager.projects.get|list serviceusage.quotas.get serviceusage.services.get|list
roles/compute.networkAdmin Compute Network Admin
    compute.addresses|globalAddresses|machineTypes|networks|regions|routers|routes|subnetworks|zones.*
    compute.firewalls|globalOperations|regionOperations|zoneOperations.get|list
    compute.instances.get|getGuestAttributes|getScreenshot|getSerialPortOutput|list|listReferrers
    compute.instances.updateSecurity|use|useReadOnly compute.projects.get resourcemanager.projects.get|list
    servicenetworking.*.get
    servicenetworking.services.addPeering|createPeeredDnsDomain|deleteConnection|deletePeeredDnsDomain
    servicenetworking.services.disableVpcServiceControls|enableVpcServiceControls|getVpcServiceControls
    servicenetworking.services.listPeeredDnsDomains serviceusage.quotas.get serviceusage.services.get|list
roles/compute.networkUser Compute Network User
    compute.*.useExternalIp compute.addresses.createInternal|deleteInternal|get|list|useInternal
    compute.firewalls|routes.get|list
    compute.networks.access|get|getEffectiveFirewalls|getRegionEffectiveFirewalls|list|listPeeringRoutes
    compute.networks.use compute.projects.get compute.regions|zones.*
    compute.routers.get|getRoutePolicy|list|listBgpRoutes|listRoutePolicies compute.subnetworks.get|list|use
    resourcemanager.projects.get|list servicenetworking.services.get serviceusage.quotas.get
    serviceusage.services.get|list
roles/compute.networkViewer Compute Network Viewer
    compute.addresses|firewalls|globalAddresses|routes|subnetworks.get|list
    compute.instances.get|getGuestAttributes|getScreenshot|getSerialPortOutput|list|listReferrers
    compute.machineTypes|regions|zones.*
    compute.networks.get|getEffectiveFirewalls|getRegionEffectiveFirewalls|list|listPeeringRoutes compute.projects.get
    compute.routers.get|getRoutePolicy|list|listBgpRoutes|listRoutePolicies resourcemanager.projects.get|list
    servicenetworking.services.get serviceusage.quotas.get serviceusage.services.get|list
roles/compute.securityAdmin Compute Security Admin
    compute.*.getEffectiveFirewalls compute.firewalls|regions|zones.*
    compute.globalOperations|regionOperations|routes|subnetworks|zoneOperations.get|list
    compute.instances.list|setShieldedInstanceIntegrityPolicy|setShieldedVmIntegrityPolicy
    compute.instances.updateSecurity|updateShieldedInstanceConfig|updateShieldedVmConfig
    compute.networks.get|getRegionEffectiveFirewalls|list|updatePolicy compute.projects.get
    compute.routers.get|getRoutePolicy|list|listBgpRoutes|listRoutePolicies resourcemanager.projects.get|list
    serviceusage.quotas.get serviceusage.services.get|list
roles/compute.instanceAdmin Compute Instance Admin (beta)
    compute.*.useExternalIp compute.addresses.createInternal|deleteInternal|get|list|use|useInternal
    compute.diskTypes|instances|machineTypes|regions|zones.*
    compute.disks.create|createSnapshot|delete|get|list|resize|setLabels|startAsyncReplication
    compute.disks.stopAsyncReplication|stopGroupAsyncReplication|update|updateKmsKey|use|useReadOnly
    compute.globalAddresses|networks|subnetworks.get|list|use
    compute.globalOperations|licenses|regionOperations|zoneOperations.get|list
    compute.images.get|getFromFamily|list|useReadOnly compute.projects.get resourcemanager.projects.get|list
    serviceusage.quotas.get serviceusage.services.get|list
roles/compute.instanceAdmin.v1 Compute Instance Admin (v1)
    compute.*.get|list|useExternalIp compute.addresses.createInternal|deleteInternal|use|useInternal
    compute.disks|images|instances|licenses|snapshots.* compute.globalAddresses|networks|subnetworks.use
    compute.projects.setCommonInstanceMetadata compute.routers.getRoutePolicy|listBgpRoutes|listRoutePolicies
    resourcemanager.projects.get|list serviceusage.quotas.get serviceusage.services.get|list
roles/compute.storageAdmin Compute Storage Admin
    compute.diskTypes|disks|images|licenses|regions|snapshots|zones.*
    compute.globalOperations|regionOperations|zoneOperations.get|list compute.projects.get
    resourcemanager.projects.get|list serviceusage.quotas.get serviceusage.services.get|list
roles/compute.imageUser Compute Image User
    compute.images.get|getFromFamily|list|useReadOnly resourcemanager.projects.get|list serviceusage.quotas.get
    serviceusage.services.get|list
roles/compute.publicIpAdmin Compute Public IP Admin
    compute.addresses|globalAddresses.* resourcemanager.projects.get|list
roles/compute.osLogin Compute OS Login
    compute.instances.get|list|osLogin compute.projects.get resourcemanager.projects.get|list serviceusage.quotas.get
    serviceusage.services.get|list
roles/compute.osAdminLogin Compute OS Admin Login
    compute.instances.get|list|osAdminLogin|osLogin compute.projects.get resourcemanager.projects.get|list
    serviceusage.quotas.get serviceusage.services.get|list
roles/compute.serviceAgent Compute Engine Service Agent
    compute.*.useExternalIp compute.addresses.use|useInternal compute.disks.create|delete|get|setLabels|use|useReadOnly
    compute.globalOperations|regionOperations|zoneOperations.get compute.images|snapshots.useReadOnly
    compute.instances.attachDisk|create|delete|detachDisk|get|setDeletionProtection|setLabels
    compute.instances.setMetadata|setServiceAccount|setTags|start|stop|update|updateDisplayDevice|use
    compute.networks|subnetworks.use iam.serviceAccounts.actAs|getAccessToken|getOpenIdToken|implicitDelegation|signJwt
    logging.logEntries.create monitoring.*.* -monitoring.*.create -monitoring.metricDescriptors.delete
    resourcemanager.projects.get|list storage.objects.create|get|list|update
roles/cloudsql.admin Cloud SQL Admin
    cloudsql.*.* monitoring.timeSeries.list resourcemanager.projects.get|list serviceusage.quotas.get
    serviceusage.services.get|list
roles/cloudsql.client Cloud SQL Client
    cloudsql.instances.connect|get
roles/cloudsql.editor Cloud SQL Editor
    cloudsql.*.* -cloudsql.*.delete
    -cloudsql.instances.clone|create|createBackupDrBackup|createTestingAgentSession|demoteMaster
    -cloudsql.instances.executeSql|import|login|manageEncryption|promoteReplica|resetSslConfig
    -cloudsql.instances.restoreBackup|startReplica|stopReplica|updateBackupDrConfig -cloudsql.sslCerts.create
    -cloudsql.users.create|update monitoring.timeSeries.list resourcemanager.projects.get|list serviceusage.quotas.get
    serviceusage.services.get|list
roles/cloudsql.instanceUser Cloud SQL Instance User
    cloudsql.instances.executeSql|get|login
roles/cloudsql.viewer Cloud SQL Viewer
    cloudsql.*.export|get|list
    cloudsql.instances.getAgentSession|getDiskShrinkConfig|listAgentSessions|listEntraIdCertificates
    cloudsql.instances.listServerCas|listServerCertificates|preCheckMajorVersionUpgrade monitoring.timeSeries.list
    resourcemanager.projects.get|list serviceusage.quotas.get serviceusage.services.get|list
roles/cloudsql.serviceAgent Cloud SQL Service Agent
    cloudsql.instances.get
roles/run.admin Cloud Run Admin
    resourcemanager.projects.get|list run.*.*
roles/run.builder Cloud Run Builder
    artifactregistry.repositories.deleteArtifacts|downloadArtifacts|uploadArtifacts logging.logEntries.create
    storage.objects.get
roles/run.developer Cloud Run Developer
    resourcemanager.projects.get|list run.*.* -run.*.setIamPolicy
roles/run.invoker Cloud Run Invoker
    run.jobs.run run.routes.invoke
roles/run.servicesInvoker Cloud Run Service Invoker
    run.routes.invoke
roles/run.sourceDeveloper Cloud Run Source Developer
    artifactregistry.*.get|list artifactregistry.files.download
    artifactregistry.repositories.create|downloadArtifacts|exportArtifacts|readViaVirtualRepository
    cloudbuild.builds.create|get|list|update cloudbuild.operations.* resourcemanager.projects.get|list run.*.*
    -run.*.setIamPolicy serviceusage.quotas.get serviceusage.services.get|list|use
    storage.buckets|managedFolders.create|get|list storage.multipartUploads.abort|create|listParts
    storage.objects.create|createContext|get|list
roles/run.viewer Cloud Run Viewer
    resourcemanager.projects.get|list run.*.get|getIamPolicy|list
roles/run.jobsExecutor Cloud Run Jobs Executor
    run.executions.cancel run.jobs.run
roles/run.jobsExecutorWithOverrides Cloud Run Jobs Executor With Overrides
    run.executions.cancel run.jobs.run|runWithOverrides
roles/run.serviceAgent Cloud Run Service Agent
    artifactregistry.*.get|list artifactregistry.files.download
    artifactregistry.repositories.downloadArtifacts|exportArtifacts|readViaVirtualRepository
    artifactregistry.repositories.uploadArtifacts cloudbuild.builds.create|get
    compute.addresses.create|createInternal|delete|deleteInternal|get|list
    compute.globalOperations|regionOperations|zoneOperations.get compute.networks.access|get compute.subnetworks.get|use
    iam.serviceAccounts.actAs|getAccessToken|getOpenIdToken|signBlob resourcemanager.projects.get|getIamPolicy|list
    run.routes.invoke serviceusage.services.get|use storage.buckets.create|get|update storage.managedFolders.get|list
    storage.objects.create|delete|get|list|update
roles/storage.admin Storage Admin
    monitoring.*.list monitoring.timeSeries.* resourcemanager.projects.get|list storage.*.* -storage.hmacKeys.*
roles/storage.bucketViewer Storage Bucket Viewer
    storage.buckets.get|list
roles/storage.hmacKeyAdmin Storage HMAC Key Admin
    resourcemanager.projects.get|list storage.hmacKeys.*
roles/storage.legacyBucketOwner Storage Legacy Bucket Owner
    storage.*.* -storage.buckets.create|delete|getObjectInsights|list|viewIntelligenceDetails -storage.hmacKeys.*
    -storage.objects.get|getIamPolicy|move|overrideUnlockedRetention|setIamPolicy|update
roles/storage.legacyBucketReader Storage Legacy Bucket Reader
    storage.buckets.get storage.managedFolders.get|list storage.multipartUploads|objects.list
roles/storage.legacyBucketWriter Storage Legacy Bucket Writer
    storage.buckets.get storage.managedFolders.create|delete|get|list storage.multipartUploads.*
    storage.objects.create|createContext|delete|list|restore|setRetention
roles/storage.legacyObjectOwner Storage Legacy Object Owner
    storage.*.* -storage.buckets|hmacKeys|managedFolders|multipartUploads.*
    -storage.objects.create|delete|list|move|restore
roles/storage.legacyObjectReader Storage Legacy Object Reader
    storage.objects.get
roles/storage.objectAdmin Storage Object Admin
    monitoring.timeSeries.create resourcemanager.projects.get|list storage.managedFolders.create|delete|get|list
    storage.multipartUploads|objects.*
roles/storage.objectCreator Storage Object Creator
    resourcemanager.projects.get|list storage.managedFolders.create storage.multipartUploads.abort|create|listParts
    storage.objects.create|createContext
roles/storage.objectUser Storage Object User
    monitoring.timeSeries.create resourcemanager.projects.get|list storage.*.* -storage.*.getIamPolicy|setIamPolicy
    -storage.buckets|hmacKeys.* -storage.objects.overrideUnlockedRetention|setRetention
roles/storage.objectViewer Storage Object Viewer
    resourcemanager.projects.get|list storage.managedFolders|objects.get|list
roles/secretmanager.admin Secret Manager Admin
    resourcemanager.projects.get|list secretmanager.*.*
roles/secretmanager.secretAccessor Secret Manager Secret Accessor
    resourcemanager.projects.get|list secretmanager.versions.access
roles/secretmanager.secretVersionAdder Secret Manager Secret Version Adder
    resourcemanager.projects.get|list secretmanager.secrets.rotate secretmanager.versions.add
roles/secretmanager.secretVersionManager Secret Manager Secret Version Manager
    resourcemanager.projects.get|list secretmanager.secrets.rotate
    secretmanager.versions.add|destroy|disable|enable|get|list
roles/secretmanager.viewer Secret Manager Viewer
    resourcemanager.projects.get|list secretmanager.*.get|list secretmanager.secrets.getIamPolicy
roles/artifactregistry.admin Artifact Registry Administrator
    artifactregistry.*.* -artifactregistry.repositories.createOnPush resourcemanager.projects.get
roles/artifactregistry.reader Artifact Registry Reader
    artifactregistry.*.get|list artifactregistry.files.download
    artifactregistry.repositories.downloadArtifacts|exportArtifacts|readViaVirtualRepository
    resourcemanager.projects.get
roles/artifactregistry.writer Artifact Registry Writer
    artifactregistry.*.* -artifactregistry.*.delete -artifactregistry.projectsettings|versions.update
    -artifactregistry.repositories.create|createOnPush|deleteArtifacts|getIamPolicy|setIamPolicy|update
    -artifactregistry.rules.create|update resourcemanager.projects.get
roles/artifactregistry.repoAdmin Artifact Registry Repository Administrator
    artifactregistry.*.* -artifactregistry.projectsettings.update
    -artifactregistry.repositories.create|createOnPush|delete|getIamPolicy|setIamPolicy|update
    resourcemanager.projects.get
roles/artifactregistry.createOnPushRepoAdmin Artifact Registry Create-on-Push Repository Administrator
    artifactregistry.*.* -artifactregistry.projectsettings.update
    -artifactregistry.repositories.create|delete|getIamPolicy|setIamPolicy|update resourcemanager.projects.get
roles/artifactregistry.createOnPushWriter Artifact Registry Create-on-Push Writer
    artifactregistry.*.* -artifactregistry.*.delete -artifactregistry.projectsettings|versions.update
    -artifactregistry.repositories.create|deleteArtifacts|getIamPolicy|setIamPolicy|update
    -artifactregistry.rules.create|update resourcemanager.projects.get
roles/artifactregistry.serviceAgent Artifact Registry Service Agent
    artifactregistry.repositories.downloadArtifacts|get|readViaVirtualRepository artifactregistry.versions.delete
roles/iam.roleAdmin Role Administrator
    iam.roles.* resourcemanager.projects.get|getIamPolicy
roles/iam.roleViewer Role Viewer
    iam.roles.get|list resourcemanager.projects.get|getIamPolicy
roles/iam.securityAdmin Security Admin
    artifactregistry.*.list artifactregistry.repositories.getIamPolicy|setIamPolicy cloudbuild.*.list cloudsql.*.list
    compute.*.getIamPolicy|list|setIamPolicy iam.*.list iam.roles.get iam.serviceAccounts.get|getIamPolicy|setIamPolicy
    logging.logEntries.list monitoring.*.list resourcemanager.projects.getIamPolicy|list|setIamPolicy
    run.*.getIamPolicy|list|setIamPolicy secretmanager.*.list secretmanager.secrets.getIamPolicy|setIamPolicy
    servicenetworking.operations.list serviceusage.services.list storage.*.getIamPolicy|list|setIamPolicy
roles/iam.securityReviewer Security Reviewer
    artifactregistry.*.list artifactregistry.repositories.getIamPolicy cloudbuild.*.list cloudsql.*.list
    compute.*.getIamPolicy|list iam.*.list iam.roles.get iam.serviceAccounts.get|getIamPolicy logging.logEntries.list
    monitoring.*.list resourcemanager.projects.getIamPolicy|list run.*.getIamPolicy|list secretmanager.*.list
    secretmanager.secrets.getIamPolicy servicenetworking.operations.list serviceusage.services.list
    storage.*.getIamPolicy|list
roles/iam.serviceAccountAdmin Service Account Admin
    iam.serviceAccounts.create|delete|disable|enable|get|getIamPolicy|list|setIamPolicy|undelete|update
    resourcemanager.projects.get|list
roles/iam.serviceAccountCreator Create Service Accounts
    iam.serviceAccounts.create|get|list resourcemanager.projects.get|list
roles/iam.serviceAccountDeleter Delete Service Accounts
    iam.serviceAccounts.delete|get|list resourcemanager.projects.get|list
roles/iam.serviceAccountKeyAdmin Service Account Key Admin
    iam.serviceAccountKeys.* iam.serviceAccounts.get|list resourcemanager.projects.get|list
roles/iam.serviceAccountOpenIdTokenCreator Service Account OpenID Connect Identity Token Creator
    iam.serviceAccounts.getOpenIdToken
roles/iam.serviceAccountTokenCreator Service Account Token Creator
    iam.serviceAccounts.get|getAccessToken|getOpenIdToken|implicitDelegation|list|signBlob|signJwt
    resourcemanager.projects.get|list
roles/iam.serviceAccountUser Service Account User
    iam.serviceAccounts.actAs|get|list resourcemanager.projects.get|list
roles/iam.serviceAccountViewer View Service Accounts
    iam.serviceAccountKeys.get|list iam.serviceAccounts.get|getIamPolicy|list resourcemanager.projects.get|list
roles/iam.workloadIdentityUser Workload Identity User
    iam.serviceAccounts.get|getAccessToken|getOpenIdToken|list
roles/serviceusage.serviceUsageAdmin Service Usage Admin
    monitoring.timeSeries.list serviceusage.*.*
roles/serviceusage.serviceUsageConsumer Service Usage Consumer
    monitoring.timeSeries.list serviceusage.*.get serviceusage.services.list|use
roles/serviceusage.serviceUsageViewer Service Usage Viewer
    monitoring.timeSeries.list serviceusage.*.get serviceusage.services.list
roles/servicenetworking.networksAdmin Service Networking Admin
    servicenetworking.*.*
roles/servicenetworking.serviceAgent Service Networking Service Agent
    compute.globalAddresses|routers.get|list compute.globalOperations|projects|regionOperations.get
    compute.networks.addPeering|create|delete|get|list|listPeeringRoutes|removePeering|update
    compute.networks.updatePeering|updatePolicy compute.routes.list compute.subnetworks.create|delete|get|list
    resourcemanager.projects.get|list
roles/cloudbuild.builds.approver Cloud Build Approver
    cloudbuild.builds.approve|get|list cloudbuild.operations.* resourcemanager.projects.get|list
roles/cloudbuild.builds.builder Cloud Build Service Account
    artifactregistry.*.* -artifactregistry.*.delete -artifactregistry.projectsettings|versions.update
    -artifactregistry.repositories.create|getIamPolicy|setIamPolicy|update -artifactregistry.rules.create|update
    cloudbuild.builds.create|get|list|update cloudbuild.operations.* cloudbuild.workerpools.use compute.images.create
    logging.logEntries.create|list resourcemanager.projects.get|list storage.buckets.create|get|list
    storage.objects.create|delete|get|list|update
roles/cloudbuild.builds.editor Cloud Build Editor
    cloudbuild.builds.create|get|list|update cloudbuild.operations.* resourcemanager.projects.get|list
roles/cloudbuild.builds.viewer Cloud Build Viewer
    cloudbuild.builds.get|list cloudbuild.operations.* resourcemanager.projects.get|list
roles/cloudbuild.serviceAgent Cloud Build Service Agent
    artifactregistry.*.* -artifactregistry.*.delete -artifactregistry.projectsettings|versions.update
    -artifactregistry.repositories.create|getIamPolicy|setIamPolicy|update -artifactregistry.rules.create|update
    cloudbuild.builds.create|get|list|update cloudbuild.operations.* cloudbuild.workerpools.use
    compute.firewalls.get|list compute.images.create compute.networks|regionOperations|subnetworks.get
    iam.serviceAccounts.get|getAccessToken|getOpenIdToken logging.logEntries.create|list
    resourcemanager.projects.get|list serviceusage.services.use storage.buckets.create|get|list
    storage.objects.create|delete|get|list|update
roles/cloudbuild.workerPoolUser Cloud Build WorkerPool User
    cloudbuild.workerpools.use
roles/resourcemanager.projectCreator Project Creator
    resourcemanager.projects.create
roles/resourcemanager.projectDeleter Project Deleter
    resourcemanager.projects.delete
roles/resourcemanager.projectIamAdmin Project IAM Admin
    resourcemanager.projects.createPolicyBinding|deletePolicyBinding|get|getIamPolicy
    resourcemanager.projects.searchPolicyBindings|setIamPolicy|updatePolicyBinding
roles/resourcemanager.projectMover Project Mover
    resourcemanager.projects.get|move|update
roles/logging.admin Logging Admin
    logging.*.* resourcemanager.projects.get|list
roles/logging.logWriter Logs Writer
    logging.logEntries.create|route
roles/logging.viewer Logs Viewer
    logging.logEntries.list resourcemanager.projects.get
roles/monitoring.admin Monitoring Admin
    monitoring.*.* resourcemanager.projects.get|list serviceusage.services.enable|get
roles/monitoring.editor Monitoring Editor
    monitoring.*.* resourcemanager.projects.get|list serviceusage.services.enable|get
roles/monitoring.metricWriter Monitoring Metric Writer
    monitoring.*.* -monitoring.metricDescriptors.delete -monitoring.timeSeries.list
roles/monitoring.viewer Monitoring Viewer
    monitoring.*.* -monitoring.*.create -monitoring.metricDescriptors.delete resourcemanager.projects.get|list
"""

ROLES: dict[str, Role] = dict(_roles(TABLE))
