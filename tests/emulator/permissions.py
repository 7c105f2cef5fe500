"""Permissions of the emulated resources: what a custom role may hold, and what `includedPermissions` lists.

Source: all that the roles of iann0036/iam-dataset (August 2026) hold; for people:
https://cloud.google.com/iam/docs/permissions-reference. Tag bindings are left out, as are resources of these services
that nothing here emulates.
"""

from __future__ import annotations

import re

TABLE = """
artifactregistry.dockerimages get list
artifactregistry.files delete download get list update upload
artifactregistry.locations get list
artifactregistry.packages delete get list update
artifactregistry.projectsettings get update
artifactregistry.repositories create createOnPush delete deleteArtifacts downloadArtifacts exportArtifacts get
    getIamPolicy list readViaVirtualRepository setIamPolicy update uploadArtifacts
artifactregistry.rules create delete get list update
artifactregistry.tags create delete get list update
artifactregistry.versions delete get list update
cloudbuild.builds approve create get list update
cloudbuild.operations get list
cloudbuild.workerpools create delete get list update use
cloudsql.backupRuns create delete export get list update
cloudsql.databases create delete get list update
cloudsql.instances addEntraIdCertificate addServerCa addServerCertificate cancelAgentSession clone connect create
    createBackupDrBackup createTestingAgentSession delete demoteMaster executeSql export failover get getAgentSession
    getDiskShrinkConfig import list listAgentSessions listEntraIdCertificates listServerCas listServerCertificates
    login manageEncryption migrate performDiskShrink preCheckMajorVersionUpgrade promoteReplica reencrypt
    resetReplicaSize resetSslConfig restart restoreBackup rotateEntraIdCertificate rotateServerCa
    rotateServerCertificate startReplica stopReplica truncateLog update updateBackupDrConfig
cloudsql.sslCerts create delete get list
cloudsql.users create delete get list update
compute.addresses create createInternal delete deleteInternal get list setLabels use useInternal
compute.diskTypes get list
compute.disks addResourcePolicies create createSnapshot delete get getIamPolicy list removeResourcePolicies resize
    setIamPolicy setLabels startAsyncReplication stopAsyncReplication stopGroupAsyncReplication update updateKmsKey
    use useReadOnly
compute.firewalls create delete get list update
compute.globalAddresses create createInternal delete deleteInternal get list setLabels use
compute.globalOperations delete get getIamPolicy list setIamPolicy
compute.images create delete deprecate get getFromFamily getIamPolicy list setIamPolicy setLabels update useReadOnly
compute.instances addAccessConfig addNetworkInterface addResourcePolicies attachDisk create delete deleteAccessConfig
    deleteNetworkInterface detachDisk get getEffectiveFirewalls getGuestAttributes getIamPolicy getScreenshot
    getSerialPortOutput getShieldedInstanceIdentity getShieldedVmIdentity getVmExtensionState list listReferrers
    listVmExtensionStates osAdminLogin osLogin pscInterfaceCreate removeResourcePolicies reset resume
    sendDiagnosticInterrupt setDeletionProtection setDiskAutoDelete setIamPolicy setLabels setMachineResources
    setMachineType setMetadata setMinCpuPlatform setName setScheduling setSecurityPolicy setServiceAccount
    setShieldedInstanceIntegrityPolicy setShieldedVmIntegrityPolicy setTags simulateMaintenanceEvent start
    startWithEncryptionKey stop suspend update updateAccessConfig updateDisplayDevice updateNetworkInterface
    updateSecurity updateShieldedInstanceConfig updateShieldedVmConfig use useReadOnly
compute.licenses create delete get getIamPolicy list setIamPolicy update
compute.machineTypes get list
compute.networks access addPeering create delete get getEffectiveFirewalls getRegionEffectiveFirewalls list
    listPeeringRoutes mirror removePeering setFirewallPolicy setNetworkPolicy switchToCustomMode update updatePeering
    updatePolicy use useExternalIp
compute.projects get setCloudArmorTier setCommonInstanceMetadata setDefaultNetworkTier setDefaultServiceAccount
    setManagedProtectionTier setUsageExportBucket
compute.regionOperations delete get getIamPolicy list setIamPolicy
compute.regions get list
compute.routers create delete deleteRoutePolicy get getRoutePolicy list listBgpRoutes listRoutePolicies update
    updateRoutePolicy use
compute.routes create delete get list
compute.snapshots create delete get getEffectiveRecycleBinRule getIamPolicy list setIamPolicy setLabels updateKmsKey
    useReadOnly
compute.subnetworks create delete expandIpCidrRange get getIamPolicy list mirror setIamPolicy
    setPrivateIpGoogleAccess update use useExternalIp usePeerMigration
compute.zoneOperations delete get getIamPolicy list setIamPolicy
compute.zones get list
iam.roles create delete get list undelete update
iam.serviceAccountKeys create delete disable enable get list
iam.serviceAccounts actAs create delete disable enable get getAccessToken getIamPolicy getOpenIdToken
    implicitDelegation list setIamPolicy signBlob signJwt undelete update
logging.logEntries create download list route
monitoring.metricDescriptors create delete get list
monitoring.monitoredResourceDescriptors get list
monitoring.timeSeries create list
resourcemanager.projects create createBillingAssignment createPolicyBinding delete deleteBillingAssignment
    deletePolicyBinding get getIamPolicy list move searchPolicyBindings setIamPolicy undelete update updateLiens
    updatePolicyBinding
run.configurations get list
run.executions cancel delete get list
run.jobs create delete get getIamPolicy list run runWithOverrides setIamPolicy sshRead sshRoot update
run.locations list uploadSource
run.operations delete get list
run.revisions delete get list
run.routes get invoke list
run.services create delete get getIamPolicy list setIamPolicy sshRead sshRoot update
run.tasks get list
secretmanager.locations get list
secretmanager.secrets create delete enableManagedRotation get getIamPolicy list rotate setIamPolicy update
secretmanager.versions access add destroy disable enable get list
servicenetworking.operations cancel delete get list
servicenetworking.services addDnsRecordSet addDnsZone addPeering addSubnetwork createPeeredDnsDomain deleteConnection
    deletePeeredDnsDomain disableVpcServiceControls enableVpcServiceControls get getConsumerConfig
    getVpcServiceControls listPeeredDnsDomains removeDnsRecordSet removeDnsZone updateConsumerConfig
    updateDnsRecordSet use
serviceusage.operations get
serviceusage.quotas get update
serviceusage.services disable enable get list use
storage.buckets create delete enableObjectRetention get getIamPolicy getIpFilter getObjectInsights list relocate
    restore setIamPolicy setIpFilter update viewIntelligenceDetails
storage.hmacKeys create delete get list update
storage.managedFolders create delete get getIamPolicy list setIamPolicy
storage.multipartUploads abort create list listParts
storage.objects create createContext delete deleteContext get getIamPolicy list move overrideUnlockedRetention
    restore setIamPolicy setRetention update updateContext
"""


def _permissions(table: str) -> dict[str, tuple[str, ...]]:
    """Verbs by `service.resource`; a line that is indented goes on with the one before."""
    lines = re.sub(r"\n +", " ", table).split("\n")
    return {words[0]: tuple(words[1:]) for line in lines if (words := line.split())}


VERBS = _permissions(TABLE)
"""Verbs by `service.resource`."""
PERMISSIONS = frozenset(f"{resource}.{verb}" for resource, verbs in VERBS.items() for verb in verbs)
