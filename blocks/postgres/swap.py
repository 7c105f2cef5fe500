"""One database put in another's place: made beside it, filled by the caller, swapped, the old one kept until dropped.

At every moment a whole database has the wanted name. The copy is marked as ours as soon as it is made, so that an
interrupted restore's copy, and a kept database, are known as this stack's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from blocks.errors import Blocked, NotReady
from blocks.postgres import sql
from blocks.postgres.connection import Login
from blocks.waiting import wait_until

SWAP_SECONDS = 30.0
"""Time a swap gets while clients still connect; it takes 0.1 s, and a refused one holds callers back for 5."""
LONGEST = 63
"""Bytes of a name in PostgreSQL; a longer one would be cut, and name another database."""

_FIND = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = $1"
_TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
_OWNER = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1"
_SETTINGS = """
SELECT CASE setrole WHEN 0 THEN format('ALTER DATABASE %I SET %I TO %L', $2::text, setting[1], setting[2])
       ELSE format('ALTER ROLE %I IN DATABASE %I SET %I TO %L',
                   pg_get_userbyid(setrole), $2::text, setting[1], setting[2]) END
FROM pg_database JOIN pg_db_role_setting ON setdatabase = pg_database.oid,
     unnest(setconfig) line, regexp_match(line, '^([^=]+)=(.*)$') setting
WHERE datname = $1 AND (setrole = 0 OR pg_get_userbyid(setrole) = current_user
                        OR (SELECT rolcreaterole AND pg_has_role(setrole, 'MEMBER WITH ADMIN OPTION') OR rolsuper
                            FROM pg_roles WHERE rolname = current_user))
"""
"""Settings of a database, but for those of roles which are not ours to change: they stay their makers'."""
_END = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_roles ON pg_roles.oid = usesysid
WHERE datname = ANY($1) AND pid <> pg_backend_pid() AND backend_type = 'client backend'
AND (pg_has_role(usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE') AND NOT rolsuper)
"""
_KEPT = """
SELECT datname, pg_database_size(datname) FROM pg_database
WHERE starts_with(datname, $1) AND shobj_description(oid, 'pg_database') = $2 ORDER BY datname
"""


@dataclass(frozen=True)
class Swappable:
    """A database that can be swapped: itself, the copy that is to replace it, and the replaced ones that are kept.

    Attributes:
        maker: A login that may make, rename and drop databases, to another database than those meant here.
        name: The database.
        mark: The ownership mark, as its comment has it.
    """

    maker: Login
    name: str
    mark: str

    @property
    def beside(self) -> str:
        """The copy that is to take its place; a fixed name, so that an interrupted restore's is found again."""
        return f"{self.name}-restoring"

    def kept(self, label: str) -> str:
        return f"{self.name}-before-{label}"

    def make_beside(self) -> None:
        """Make the empty copy, in the place of an interrupted restore's. Its owner, and the settings of roles in it,
        are those of the database whose place it will take.

        Raises:
            Blocked: a database of that name is not ours, or none may be made.
        """
        found = sql.query(self.maker, _FIND, self.beside)
        if found and found[0][0] != self.mark:
            self._require_unmarked_of_ours(found[0][0])
        self.drop_beside()
        with sql.session(self.maker) as making:
            making.command("CREATE DATABASE %I OWNER %I", self.beside, making.value(_OWNER, self.name))
            making.command("COMMENT ON DATABASE %I IS %L", self.beside, self.mark)
            for (setting,) in making.query(_SETTINGS, self.name, self.beside):
                making.execute(setting)

    def _require_unmarked_of_ours(self, comment: str) -> None:
        """Accept a copy without a comment and without tables: an interrupted restore's, which was not marked yet."""
        if comment:
            raise Blocked(f"the database {self.beside!r} is not ours: its comment is {comment!r}", "rename it")
        tables = sql.query(replace(self.maker, database=self.beside), _TABLES)[0][0]
        if tables:
            what = f"the database {self.beside!r} is not ours: it has no comment, and {tables} tables"
            raise Blocked(what, "rename it")

    def drop_beside(self) -> None:
        drop(self.maker, self.beside)

    def swap(self, label: str) -> None:
        """Put the copy in the database's place, all at once or not at all.

        Whoever is connected is sent away first. A newcomer between that and the renames makes the swap fail, so it
        is tried again; once a rename has its lock, newcomers wait, are sent away, and find the new one by another try.

        Raises:
            NotReady: clients connected all the time.
        """
        kept = self.kept(label)
        if len(kept.encode()) > LONGEST:
            raise Blocked(f"the name {kept!r} is longer than PostgreSQL's {LONGEST} bytes")
        with sql.session(self.maker) as renaming, sql.session(self.maker, as_itself=True) as ending:
            renames = renaming.value(_RENAMES, self.name, self.beside, kept)

            def is_swapped() -> bool:
                # Not in the renames' transaction: one session that we may not end would undo them.
                ending.query(_END, [self.name, self.beside])
                try:
                    renaming.execute(renames)
                except Blocked as error:
                    raise NotReady(error.what) from error
                return True

            wait_until(is_swapped, "the swap of the databases", timeout=SWAP_SECONDS, every=0.2)

    def all_kept(self) -> dict[str, int]:
        """Databases that were replaced and not dropped: name → bytes. Only those with our mark."""
        return dict(sql.query(self.maker, _KEPT, self.kept(""), self.mark))

    def drop_kept(self, name: str) -> None:
        """Drop one of them; anything else is refused."""
        if name not in self.all_kept():
            raise Blocked(f"{name!r} is no database which a restore of this stack has kept", "nothing was dropped")
        drop(self.maker, name)


_RENAMES = """
SELECT format('ALTER DATABASE %I RENAME TO %I; ALTER DATABASE %I RENAME TO %I', $1::text, $3::text, $2::text, $1::text)
"""
"""What comes as one text is one transaction."""


def drop(maker: Login, name: str) -> None:
    """Drop a database with the sessions in it, if it is there. The login must own it, or be a member of its owner."""
    with sql.session(maker, as_itself=True) as dropping:
        dropping.command("DROP DATABASE IF EXISTS %I WITH (FORCE)", name)
