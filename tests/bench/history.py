"""A database with a long history of flow runs, as Prefect's server itself would have stored them.

Backups, restores and upgrades are measured on it. Rows are made by SQL in the schema that is there (3.8.3 to 3.8.8),
so that 10,000 runs take seconds instead of hours. Each finished run has its states, 3 task runs with theirs, and log
lines, spread over the 90 days that Prefect keeps them; runs of the last 7 days have events too.
"""

from __future__ import annotations

from blocks.postgres import content, sql
from blocks.postgres.connection import Login

BATCH = 5_000
"""Runs made in one transaction."""

_RUNS = """
INSERT INTO flow (name) VALUES ('history') ON CONFLICT (name) DO NOTHING;
CREATE TEMPORARY TABLE made ON COMMIT DROP AS
SELECT gen_random_uuid() AS id, uuidv7(began - now()) AS state, began,
    began + (5 + 60 * random()) * interval '1 s' AS ended,
    (ARRAY['amber', 'brisk', 'calm', 'daring', 'eager', 'fuzzy', 'gentle', 'happy'])[1 + n % 8] || '-'
        || (ARRAY['otter', 'lynx', 'heron', 'mole', 'newt', 'raven', 'seal'])[1 + n % 7] AS name,
    CASE WHEN n % 20 = 0 THEN 'Failed' ELSE 'Completed' END AS last,
    (SELECT id FROM flow WHERE name = 'history') AS flow
FROM generate_series(1, :runs) n,
    LATERAL (SELECT now() - '2 min'::interval - n * '90 days'::interval / :runs) AS t(began);
CREATE TEMPORARY TABLE step ON COMMIT DROP AS
SELECT made.id AS run, made.name AS run_name, made.flow, uuidv7(began - now()) AS id, gen_random_uuid() AS key,
    uuidv7(ended - now()) AS state, n, began + n * interval '1 s' AS began, began + (n + 2) * interval '1 s' AS ended
FROM made, generate_series(1, 3) n;
"""

_DETAILS = """jsonb_build_object('deferred', NULL, 'cache_key', NULL, 'pause_key', NULL, 'retriable', NULL,
    'flow_run_id', {run}, 'task_run_id', {task}, 'traceparent', NULL, 'pause_timeout', NULL, 'refresh_cache', NULL,
    'transition_id', gen_random_uuid(), 'scheduled_time', NULL, 'cache_expiration', NULL, 'pause_reschedule', false,
    'run_input_keyset', NULL, 'child_flow_run_id', NULL, 'task_parameters_id', NULL, 'untrackable_result', false,
    'deployment_concurrency_lease_id', NULL)"""

# One statement: the run and its last state refer to each other.
_FLOW_RUNS = f"""
WITH runs AS (
    INSERT INTO flow_run (id, created, updated, name, state_type, run_count, expected_start_time, start_time, end_time,
        total_run_time, flow_version, parameters, empirical_policy, tags, flow_id, state_id, state_name,
        state_timestamp, infrastructure_pid, labels)
    SELECT id, began, ended, name, upper(last)::state_type, 1, began, began, ended, ended - began, md5('history'),
        jsonb_build_object('day', began::date, 'limit', 100),
        '{{"retries": 0, "resuming": false, "pause_keys": [], "retry_type": null, "max_retries": 0, "retry_delay": 0,
           "retry_delay_seconds": 0.0}}', '["history"]', flow, state, last, ended, '4711',
        jsonb_build_object('prefect.flow.id', flow, 'prefect.worker.name', 'default', 'prefect.worker.type', 'process')
    FROM made
)
INSERT INTO flow_run_state (id, created, updated, type, timestamp, name, message, state_details, flow_run_id)
SELECT id, at, at, upper(name)::state_type, at, name, message, {_DETAILS.format(run="run", task="NULL")}, run
FROM (
    SELECT uuidv7(began - now()) AS id, began + place * interval '10 ms' AS at, stage AS name, NULL AS message,
        id AS run
    FROM made, unnest(ARRAY['Scheduled', 'Pending', 'Running']) WITH ORDINALITY AS s(stage, place)
    UNION ALL
    SELECT state, ended, last, CASE last WHEN 'Failed' THEN 'Flow run encountered an exception' END, id FROM made
) AS states;
"""

_TASK_RUNS = f"""
INSERT INTO task_run (id, created, updated, name, state_type, run_count, expected_start_time, start_time, end_time,
    total_run_time, task_key, dynamic_key, empirical_policy, task_inputs, flow_run_id, state_id, state_name,
    state_timestamp, flow_run_run_count, labels)
SELECT id, began, ended, 'load-' || left(key::text, 3), 'COMPLETED', 1, began, began, ended, ended - began,
    'load-76f0e5e1', key::text,
    '{{"retries": 0, "max_retries": 0, "retry_delay": 0, "retry_delay_seconds": 0.0, "retry_jitter_factor": null}}',
    '{{"day": []}}', run, state, 'Completed', ended, 1, '{{}}'
FROM step;
INSERT INTO task_run_state (id, created, updated, type, timestamp, name, message, state_details, task_run_id)
SELECT id, at, at, upper(name)::state_type, at, name, '', {_DETAILS.format(run="run", task="task")}, task
FROM (
    SELECT uuidv7(began - now()) AS id, began + place * interval '10 ms' AS at, stage AS name, run, id AS task
    FROM step, unnest(ARRAY['Pending', 'Running']) WITH ORDINALITY AS s(stage, place)
    UNION ALL SELECT state, ended, 'Completed', run, id FROM step
) AS states;
"""

_LOGS = """
INSERT INTO log (id, created, updated, name, level, flow_run_id, task_run_id, message, timestamp)
SELECT uuidv7(began - now()), ended, ended, 'prefect.task_runs', 20, run, id,
    CASE line WHEN 3 THEN 'Finished in state Completed()'
    ELSE 'read part ' || line || ' of s3://history/' || began::date || '/' || key || ' in ' || random() || ' s' END,
    began + line * interval '0.5 s'
FROM step, generate_series(1, 3) line
UNION ALL SELECT uuidv7(began - now()), began, began, 'prefect.flow_runs', 20, id, NULL,
    'Beginning flow run ''' || name || ''' for flow ''history''', began FROM made;
"""

_EVENTS = """
CREATE TEMPORARY TABLE told ON COMMIT DROP AS
SELECT uuidv7(at - now()) AS id, at, 'prefect.' || kind || '.' || state AS event,
    'prefect.' || kind || '.' || thing AS subject,
    jsonb_build_object('prefect.resource.id', 'prefect.' || kind || '.' || thing, 'prefect.resource.name', name,
        'prefect.run-count', '1', 'prefect.state-message', '', 'prefect.state-name', state,
        'prefect.state-type', upper(state), 'prefect.state-timestamp', at) AS resource,
    jsonb_build_array(
        jsonb_build_object('prefect.resource.id', 'prefect.flow.' || flow, 'prefect.resource.name', 'history',
            'prefect.resource.role', 'flow'),
        jsonb_build_object('prefect.resource.id', 'prefect.flow-run.' || run, 'prefect.resource.name', run_name,
            'prefect.resource.role', 'flow-run'),
        jsonb_build_object('prefect.resource.id', 'prefect.tag.history', 'prefect.resource.role', 'tag')) AS related
FROM (
    SELECT 'flow-run' AS kind, id AS thing, name, stage AS state, began + place * interval '10 ms' AS at, flow,
        id AS run, name AS run_name
    FROM made, unnest(ARRAY['Pending', 'Running', last]) WITH ORDINALITY AS s(stage, place)
    UNION ALL SELECT 'task-run', id, 'load-' || left(key::text, 3), stage, began + place * interval '10 ms', flow,
        run, run_name
    FROM step, unnest(ARRAY['Pending', 'Running', 'Completed']) WITH ORDINALITY AS s(stage, place)
) AS runs WHERE at > now() - interval '7 days';
INSERT INTO events (id, occurred, event, resource_id, resource, related_resource_ids, related, payload, received,
    recorded)
SELECT id, at, event, subject, resource, jsonb_path_query_array(related, '$[*]."prefect.resource.id"'), related,
    jsonb_build_object('intended', jsonb_build_object('from', 'PENDING', 'to', 'RUNNING'),
        'task_run', jsonb_build_object('name', subject, 'tags', '[]'::jsonb, 'labels', '{}'::jsonb, 'dynamic_key', id,
            'task_key', md5(subject), 'run_count', 1, 'start_time', at, 'expected_start_time', at),
        'initial_state', '{"name": "Pending", "type": "PENDING", "message": "", "state_details": {}}'::jsonb,
        'validated_state', '{"name": "Running", "type": "RUNNING", "message": "", "state_details": {}}'::jsonb),
    at, at FROM told;
INSERT INTO event_resources (occurred, resource_id, resource_role, resource, event_id)
SELECT at, subject, '', resource::json, id FROM told
UNION ALL SELECT at, each ->> 'prefect.resource.id', each ->> 'prefect.resource.role', each::json, id
FROM told, jsonb_array_elements(related) AS each;
"""


def fill(login: Login, runs: int) -> None:
    """Add that many finished flow runs to a database with Prefect's schema, in PostgreSQL 18; nothing else changes.

    Args:
        login: The owner's; no superuser is needed.
        runs: Number of flow runs; 10,000 make about 0.3 GB, indexes included.
    """
    with sql.session(login) as session:
        for done in range(0, runs, BATCH):
            number = str(min(BATCH, runs - done))
            session.execute((_RUNS + _FLOW_RUNS + _TASK_RUNS + _LOGS + _EVENTS).replace(":runs", number))
        session.query("VACUUM ANALYZE")  # as autovacuum has done to a history that grew in months


def size(login: Login) -> int:
    """Bytes of the whole database, indexes included."""
    with sql.session(login) as session:
        return content.size(session)
