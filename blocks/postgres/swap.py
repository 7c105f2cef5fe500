"""One database put in another's place: made beside it, filled by somebody, swapped, the old one kept until dropped.

At every moment a whole database stands under the wanted name. What we make carries the ownership mark from the
first moment after it is there, so that a copy or a kept one is known as ours whoever finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from blocks.errors import Blocked, NotReady
from blocks.postgres import programs as postgres
from blocks.postgres.programs import Login
from blocks.waiting import wait_until

SWAP_SECONDS = 30.0
"""Time a swap gets where somebody still connects; it takes 0.1 s, and a refused one holds callers back for 5."""
LONGEST = 63
"""Bytes of a name in PostgreSQL; a longer one would be cut, and name another database."""

_FIND = """
SELECT pg_get_userbyid(datdba), coalesce(shobj_description(oid, 'pg_database'), '')
FROM pg_database WHERE datname = :'beside'
"""
_TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
_MAKE = r"""
DROP DATABASE IF EXISTS :"beside" WITH (FORCE);
SELECT format('CREATE DATABASE %I OWNER %I', :'beside', pg_get_userbyid(datdba))
FROM pg_database WHERE datname = :'name' \gexec
COMMENT ON DATABASE :"beside" IS :'mark';
SELECT CASE setrole WHEN 0 THEN format('ALTER DATABASE %I SET %I TO %L', :'beside', setting[1], setting[2])
       ELSE format('ALTER ROLE %I IN DATABASE %I SET %I TO %L',
                   pg_get_userbyid(setrole), :'beside', setting[1], setting[2]) END
FROM pg_database JOIN pg_db_role_setting ON setdatabase = pg_database.oid,
     unnest(setconfig) line, regexp_match(line, '^([^=]+)=(.*)$') setting
WHERE datname = :'name' \gexec
"""
"""Owner and settings of roles in it are those of the database whose place it will take."""
_SWAP = """
BEGIN;
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname IN (:'name', :'beside') AND pid <> pg_backend_pid();
ALTER DATABASE :"name" RENAME TO :"kept";
ALTER DATABASE :"beside" RENAME TO :"name";
COMMIT;
"""
_KEPT = """
SELECT datname, pg_database_size(datname) FROM pg_database
WHERE starts_with(datname, :'prefix') AND shobj_description(oid, 'pg_database') = :'mark' ORDER BY datname
"""


@dataclass(frozen=True)
class Place:
    """A database and what may stand beside it.

    Attributes:
        programs: Folder with psql.
        maker: A login that may make, rename and drop databases, to another database than those meant here.
        name: The database.
        mark: The ownership mark, as its comment has it.
    """

    programs: Path
    maker: Login
    name: str
    mark: str

    @property
    def beside(self) -> str:
        """The copy that is to take its place; a fixed name, so that a killed caller's is found again."""
        return f"{self.name}-restoring"

    def kept(self, label: str) -> str:
        return f"{self.name}-before-{label}"

    def make_beside(self) -> None:
        """Make the empty copy, anew where a killed caller left one.

        Raises:
            Blocked: a database of that name is not ours, or none may be made.
        """
        found = self._query(_FIND)
        if found and found[0][1] != self.mark:
            self._require_unmarked_of_ours(found[0][1])
        self._query(_MAKE)

    def _require_unmarked_of_ours(self, comment: str) -> None:
        """A caller killed before it could mark its copy left one without a comment and without tables."""
        if comment:
            raise Blocked(f"the database {self.beside!r} is not ours: its comment is {comment!r}", "rename it")
        tables = postgres.query(self.programs, replace(self.maker, database=self.beside), _TABLES)[0][0]
        if tables != "0":
            what = f"the database {self.beside!r} is not ours: it has no comment, and {tables} tables"
            raise Blocked(what, "rename it")

    def drop_beside(self) -> None:
        self._query('DROP DATABASE IF EXISTS :"beside" WITH (FORCE)')

    def swap(self, label: str) -> None:
        """Put the copy in the database's place, all at once or not at all.

        Whoever is connected is sent away first. A newcomer between that and the renames makes the swap fail, so it
        is tried again; once a rename has its lock, newcomers wait, are sent away, and find the new one by another try.

        Raises:
            NotReady: somebody connected all the time.
        """
        variables = {"kept": self.kept(label)}
        if len(variables["kept"].encode()) > LONGEST:
            raise Blocked(f"the name {variables['kept']!r} is longer than PostgreSQL's {LONGEST} bytes")
        wait_until(lambda: self._swapped(variables), "the swap of the databases", timeout=SWAP_SECONDS, every=0.2)

    def all_kept(self) -> dict[str, int]:
        """Databases that were replaced and not dropped: name → bytes. Only those with our mark."""
        found = self._query(_KEPT, {"prefix": self.kept("")})
        return {name: int(size) for name, size in found}

    def drop_kept(self, name: str) -> None:
        """Drop one of them; anything else is refused."""
        if name not in self.all_kept():
            raise Blocked(f"{name!r} is no database which a restore of this stack has kept", "nothing was dropped")
        self._query('DROP DATABASE IF EXISTS :"kept" WITH (FORCE)', {"kept": name})

    def _swapped(self, variables: Mapping[str, str]) -> bool:
        try:
            self._query(_SWAP, variables)
        except Blocked as error:
            raise NotReady(error.what) from error
        return True

    def _query(self, sql: str, more: Mapping[str, str] | None = None) -> list[list[str]]:
        variables = {"name": self.name, "beside": self.beside, "mark": self.mark, **(more or {})}
        return postgres.query(self.programs, self.maker, sql, variables)
