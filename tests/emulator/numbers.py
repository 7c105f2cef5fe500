"""Enums whose numbers on the wire are not their places in the discovery document's list, by schema and property.

Source: the proto files behind the documents (googleapis/googleapis); tests/unit/emulator compares with the installed
clients.
"""

from __future__ import annotations

LAUNCH_STAGES = {
    0: "LAUNCH_STAGE_UNSPECIFIED",
    1: "EARLY_ACCESS",
    2: "ALPHA",
    3: "BETA",
    4: "GA",
    5: "DEPRECATED",
    6: "UNIMPLEMENTED",
    7: "PRELAUNCH",
}
"""google/api/launch_stage.proto."""

ENUM_NUMBERS: dict[str, dict[int, str]] = {
    **{
        f"GoogleCloudRunV2{message}": LAUNCH_STAGES
        for message in (
            "Execution.launchStage",
            "Instance.launchStage",
            "Job.launchStage",
            "Revision.launchStage",
            "Service.launchStage",
            "SubmitBuildRequest.releaseTrack",
            "WorkerPool.launchStage",
        )
    },
    "GoogleCloudRunV2Condition.reason": {
        0: "COMMON_REASON_UNDEFINED",
        1: "UNKNOWN",
        3: "REVISION_FAILED",
        4: "PROGRESS_DEADLINE_EXCEEDED",
        6: "CONTAINER_MISSING",
        7: "CONTAINER_PERMISSION_DENIED",
        8: "CONTAINER_IMAGE_UNAUTHORIZED",
        9: "CONTAINER_IMAGE_AUTHORIZATION_CHECK_FAILED",
        10: "ENCRYPTION_KEY_PERMISSION_DENIED",
        11: "ENCRYPTION_KEY_CHECK_FAILED",
        12: "SECRETS_ACCESS_CHECK_FAILED",
        13: "WAITING_FOR_OPERATION",
        14: "IMMEDIATE_RETRY",
        15: "POSTPONED_RETRY",
        16: "INTERNAL",
        17: "VPC_NETWORK_NOT_FOUND",
    },
    "ProjectSettings.legacyRedirectionState": {
        0: "REDIRECTION_STATE_UNSPECIFIED",
        1: "REDIRECTION_FROM_GCR_IO_DISABLED",
        2: "REDIRECTION_FROM_GCR_IO_ENABLED",
        3: "REDIRECTION_FROM_GCR_IO_FINALIZED",
        5: "REDIRECTION_FROM_GCR_IO_ENABLED_AND_COPYING",
        6: "REDIRECTION_FROM_GCR_IO_PARTIAL_AND_COPYING",
    },
    "Repository.format": {
        0: "FORMAT_UNSPECIFIED",
        1: "DOCKER",
        2: "MAVEN",
        3: "NPM",
        5: "APT",
        6: "YUM",
        8: "PYTHON",
        9: "KFP",
        10: "GO",
        11: "GENERIC",
        12: "RUBY",
    },
    "Secret.secretType": {
        0: "SECRET_TYPE_UNSPECIFIED",
        1: "CLOUD_SQL_DB_CREDENTIALS",
        2: "ACCESS_KEY",
        3: "CERTIFICATE",
        4: "OTHER_DB_CREDENTIALS",
        50: "OTHER",
    },
}
