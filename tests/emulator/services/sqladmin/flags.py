"""Database flags of PostgreSQL: names, types, ranges; and what is refused.

Source: https://cloud.google.com/sql/docs/postgres/flags#list-flags-postgres. The flags of most use, not all: one that
is missing here is refused as unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.emulator.access import ANONYMOUS
from tests.emulator.errors import ApiError, unauthenticated
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.sqladmin.base import SqlKind

MOST = 2_147_483_647
VERSIONS = tuple(f"POSTGRES_{major}" for major in range(12, 19))
LEVELS = "debug5 debug4 debug3 debug2 debug1 info notice warning error log fatal panic"


@dataclass(frozen=True)
class Flag:
    """One flag; `choices` are the texts a STRING takes (none: any), `low` and `high` bound a number."""

    name: str
    type: str
    low: int = 0
    high: int = MOST
    choices: tuple[str, ...] = ()
    restart: bool = False

    def takes(self, value: str) -> bool:
        if self.type == "BOOLEAN":
            return value in ("on", "off")
        if self.type == "STRING":
            return not self.choices or value in self.choices
        try:
            number = float(value) if self.type == "FLOAT" else int(value)
        except ValueError:
            return False
        return self.low <= number <= self.high

    def shown(self) -> Body:
        body: Body = {"kind": "sql#flag", "name": self.name, "type": self.type, "appliesTo": list(VERSIONS)}
        body["requiresRestart"] = self.restart
        if self.type in ("INTEGER", "FLOAT"):
            body |= {"minValue": str(self.low), "maxValue": str(self.high)}
        return body | ({"allowedStringValues": list(self.choices)} if self.choices else {})


SWITCHES = """
autovacuum cloudsql.allow_passwordless_local_connections cloudsql.enable_auto_explain cloudsql.iam_authentication
constraint_exclusion enable_bitmapscan enable_hashagg enable_hashjoin enable_indexonlyscan enable_indexscan
enable_material enable_mergejoin enable_nestloop enable_parallel_append enable_partition_pruning
enable_partitionwise_aggregate enable_partitionwise_join enable_seqscan enable_sort enable_tidscan
hot_standby_feedback jit log_checkpoints log_connections log_disconnections log_duration log_executor_stats log_hostname
log_lock_waits log_parser_stats log_planner_stats log_replication_commands log_statement_stats pg_stat_statements.save
pg_stat_statements.track_utility track_activities track_counts track_io_timing wal_compression
"""
RESTARTING_SWITCHES = """
cloudsql.enable_pg_bigm cloudsql.enable_pg_cron cloudsql.enable_pg_hint_plan cloudsql.enable_pgaudit
cloudsql.enable_pglogical cloudsql.enable_pg_squeeze cloudsql.logical_decoding track_commit_timestamp
"""
NUMBERS = {
    "autovacuum_analyze_threshold": (0, MOST),
    "autovacuum_naptime": (1, 2_147_483),
    "autovacuum_vacuum_cost_limit": (-1, 10_000),
    "autovacuum_vacuum_insert_threshold": (-1, MOST),
    "autovacuum_vacuum_threshold": (0, MOST),
    "autovacuum_work_mem": (-1, MOST),
    "bgwriter_delay": (10, 10_000),
    "bgwriter_lru_maxpages": (0, 1_073_741_823),
    "checkpoint_timeout": (30, 86_400),
    "checkpoint_warning": (0, MOST),
    "deadlock_timeout": (1, MOST),
    "default_statistics_target": (1, 10_000),
    "effective_cache_size": (1, MOST),
    "effective_io_concurrency": (0, 1000),
    "idle_in_transaction_session_timeout": (0, MOST),
    "lock_timeout": (0, MOST),
    "log_autovacuum_min_duration": (-1, MOST),
    "log_min_duration_statement": (-1, MOST),
    "log_temp_files": (-1, MOST),
    "maintenance_work_mem": (1024, MOST),
    "max_parallel_maintenance_workers": (0, 1024),
    "max_parallel_workers": (0, 1024),
    "max_parallel_workers_per_gather": (0, 1024),
    "max_standby_archive_delay": (-1, MOST),
    "max_standby_streaming_delay": (-1, MOST),
    "max_wal_size": (2, MOST),
    "min_wal_size": (32, MOST),
    "statement_timeout": (0, MOST),
    "tcp_keepalives_count": (0, MOST),
    "tcp_keepalives_idle": (0, MOST),
    "tcp_keepalives_interval": (0, MOST),
    "temp_buffers": (100, 1_073_741_823),
    "temp_file_limit": (1_048_576, MOST),
    "vacuum_cost_limit": (1, 10_000),
    "wal_sender_timeout": (0, MOST),
    "work_mem": (64, MOST),
}
RESTARTING_NUMBERS = {
    "autovacuum_freeze_max_age": (100_000, 2_000_000_000),
    "autovacuum_max_workers": (1, 262_143),
    "autovacuum_multixact_freeze_max_age": (10_000, 2_000_000_000),
    "max_connections": (14, 262_143),
    "max_locks_per_transaction": (10, MOST),
    "max_pred_locks_per_transaction": (64, 1048),
    "max_prepared_transactions": (0, 262_143),
    "max_replication_slots": (10, 262_143),
    "max_wal_senders": (10, 262_143),
    "max_worker_processes": (8, 262_143),
    "pg_stat_statements.max": (100, MOST),
    "shared_buffers": (16, 1_073_741_823),
    "track_activity_query_size": (100, 102_400),
    "wal_buffers": (-1, 262_143),
}
FRACTIONS = {
    "autovacuum_analyze_scale_factor": (0, 100),
    "autovacuum_vacuum_cost_delay": (-1, 100),
    "autovacuum_vacuum_scale_factor": (0, 100),
    "bgwriter_lru_multiplier": (0, 10),
    "checkpoint_completion_target": (0, 1),
    "random_page_cost": (0, MOST),
    "seq_page_cost": (0, MOST),
}
TEXTS = {
    "cloudsql.pg_shadow_select_role": "",
    "default_transaction_isolation": "",
    "log_error_verbosity": "terse default verbose",
    "log_line_prefix": "",
    "log_min_error_statement": LEVELS,
    "log_min_messages": LEVELS,
    "log_statement": "none ddl mod all",
    "password_encryption": "md5 scram-sha-256",
    "pg_stat_statements.track": "none top all",
    "pgaudit.log": "",
    "session_replication_role": "origin replica local",
    "synchronous_commit": "on off local remote_write remote_apply",
    "timezone": "",
    "track_functions": "none pl all",
}

FLAGS = {
    flag.name: flag
    for flag in (
        *(Flag(name, "BOOLEAN") for name in SWITCHES.split()),
        *(Flag(name, "BOOLEAN", restart=True) for name in RESTARTING_SWITCHES.split()),
        *(Flag(name, "INTEGER", low, high) for name, (low, high) in NUMBERS.items()),
        *(Flag(name, "INTEGER", low, high, restart=True) for name, (low, high) in RESTARTING_NUMBERS.items()),
        *(Flag(name, "FLOAT", low, high) for name, (low, high) in FRACTIONS.items()),
        *(Flag(name, "STRING", choices=tuple(choices.split())) for name, choices in TEXTS.items()),
        Flag("cron.database_name", "STRING", restart=True),
        Flag("huge_pages", "STRING", choices=("on", "off", "try"), restart=True),
    )
}


def check_flags(flags: Sequence[Body]) -> None:
    """Refuse a name that Cloud SQL does not take and a value outside the flag's range.

    Sources: admin-api-error-messages, ERROR_INVALID_FLAG_NAME (404); for a value the wire says 400 where that page
    says 422: google/exposure-notifications-server#746, wandb/terraform-google-wandb#183.
    """
    for given in flags:
        name, value = given.get("name", ""), given.get("value", "")
        flag = FLAGS.get(name)
        if flag is None:
            message = "The requested flag is either misspelled or unsupported by Cloud SQL."
            raise ApiError(404, message, reason="invalidFlagName")
        if not flag.takes(value):
            raise ApiError(400, f"Value requested is not valid. {_why(flag, value)}", reason="invalidFlagValue")


def _why(flag: Flag, value: str) -> str:
    """No source for the words on numbers."""
    if flag.type in ("STRING", "BOOLEAN"):
        return f"Failed to set {flag.name}: {value} was not an expected string."
    return f"Failed to set {flag.name}: {value} was not between {flag.low} and {flag.high}."


def enabled(settings: Body, name: str) -> bool:
    """Whether a flag of an instance's settings is on."""
    return {"name": name, "value": "on"} in settings.get("databaseFlags", ())


class Flags(SqlKind):
    """All flags, for every project: their list wants no permission."""

    collection = "sql.flags"

    def guards(self, call: Call) -> tuple[str, ...]:
        """No project is named, so nothing is asked of one."""
        return ("flags",)

    @on("list", "")
    def listed(self, call: Call) -> Body:
        """Flags of one database version, of all that take any where none is named."""
        if call.caller == ANONYMOUS:
            raise unauthenticated()
        version = call.get("databaseVersion", "")
        fitting = not version or version in VERSIONS
        return {"kind": "sql#flagsList", "items": [flag.shown() for flag in FLAGS.values()] if fitting else []}


KINDS = (Flags,)
