"""Which stack is meant, for every verb there is: what names another one, or is not understood, touches nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from cyclopts import App

from blocks.errors import WrongCall
from blocks.host.home import HOME_VARIABLE, Home
from blocks.ledger import WANTED
from flows.cli import main as cli
from flows.cli.where import Where
from tests.stack import tree
from tests.unit.test_cli import saved

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked")

OURS, THEIRS = "ours", "theirs"
WISHES = ("bootstrap", "plan")
"""Verbs for which a port is what is wanted, and a home may be one that is not there yet."""
VALUES: dict[object, str] = {str: "nginx", int: "2"}
"""Something for an argument that is given by place, by its type."""


@dataclass(frozen=True)
class Verb:
    """A verb as it is typed, with all that it takes by place, and without a question."""

    words: tuple[str, ...]
    further: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)


def verbs(app: App, *above: str) -> Iterator[Verb]:
    """Every verb of the command line, so that a new one is among them by itself."""
    for name in (each for each in app if not each.startswith("-")):
        command = app[name]
        if command.default_command is None:
            yield from verbs(command, *above, name)
            continue
        taken = list(command.assemble_argument_collection())
        if not any("--home" in each.names for each in taken):
            continue  # it is of no stack
        by_place = [value(each.hint) for each in taken if each.index is not None]
        yield Verb((*above, name, *by_place), ("--yes",) if any("--yes" in each.names for each in taken) else ())


def value(hint: object) -> str:
    """A value of that type; where there is a choice the first one."""
    kinds = [each for each in get_args(hint) if each is not type(None)] or [hint]
    return str(kinds[0]) if get_origin(hint) is Literal else VALUES[kinds[0]]


VERBS = list(verbs(cli.app))


@pytest.fixture
def folder(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two stacks below it: ours in `home`, and another one in `another`."""
    for each, name, port in ((home, OURS, 5000), (Home(home.root.parent / "another"), THEIRS, 6000)):
        each.root.parent.mkdir(exist_ok=True)
        saved(each, name=name, **{"local.ports.public": port})
    folder = home.root.parent
    (folder / "theirs.toml").write_text(f'name = "{THEIRS}"\n')
    (folder / "elsewhere.toml").write_text(f'name = "{OURS}"\nhome = "{folder}/another"\n')
    (folder / "damaged.toml").write_text("name = ")
    monkeypatch.chdir(folder)
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    return folder


@dataclass(frozen=True)
class Caller:
    """Calls the command line in this process, in a folder of which nothing may be touched."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def call(self, *argv: str) -> int:
        self.monkeypatch.setattr(sys, "argv", ["selfhost", *argv])
        return cli.main()

    def refused(self, argv: tuple[str, ...], status: int, said: tuple[str, ...]) -> None:
        """It ends with that status, one line which says these texts, and a hint; and all is as it was."""
        before = tree(self.folder)
        assert (argv, self.call(*argv)) == (argv, status)
        output = self.capsys.readouterr()
        error, hint = output.err.splitlines()
        assert (output.out, error[:7], hint[:6]) == ("", "error: ", "hint: "), argv
        assert not [each for each in said if each not in error], (argv, error)
        assert tree(self.folder) == before, argv


@pytest.fixture
def caller(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(folder, monkeypatch, capsys)


ANOTHERS = {
    ("--spec", "theirs.toml"): (OURS, THEIRS),
    ("--spec", "elsewhere.toml"): ("/another", "/home"),
    ("--spec", "absent.toml"): ("absent.toml",),
    ("--spec", "damaged.toml"): ("damaged.toml",),
    ("--name", THEIRS): (OURS, THEIRS),
    ("--home", "another", "--name", OURS): (OURS, THEIRS),
}
"""What does not fit the stack of the home that is given, and what is said about it."""
NOT_TAKEN = {
    ("more",): "does not take 'more'",
    ("theirs.toml", "more"): "does not take 'theirs.toml' 'more'",
    ("--frobnicate",): "--frobnicate",
    ("--port", "many"): "many",
}
NOT_THERE = {
    ("--port", "6000"): (2, "at port 5000, not 6000"),
    ("--home", "another", "--port", "5000"): (2, "at port 6000, not 5000"),
    ("--home", "empty"): (1, "/empty"),
}
"""What names no stack that is there, the exit status, and what is said about it."""


@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_another_stack_is_refused(verb: Verb, caller: Caller, home: Home) -> None:
    for given, said in ANOTHERS.items():
        caller.monkeypatch.delenv(HOME_VARIABLE, raising=False)
        where = () if "--home" in given else ("--home", str(home.root))
        caller.refused((*verb.words, *where, *given, *verb.further), 2, said)
        caller.monkeypatch.setenv(HOME_VARIABLE, str(home.root))  # as bin/selfhost does
        caller.refused((*verb.words, *given, *verb.further), 2, said)


@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_what_a_verb_does_not_take_is_a_wrong_call(verb: Verb, caller: Caller, home: Home) -> None:
    caller.monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    for given, said in NOT_TAKEN.items():
        caller.refused((*verb.words, *given, *verb.further), 2, (said,))


@pytest.mark.parametrize("verb", [each for each in VERBS if str(each) not in WISHES], ids=str)
def test_what_works_on_a_stack_that_is_there_wants_its_port_and_home(verb: Verb, caller: Caller, home: Home) -> None:
    caller.monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    for given, (status, said) in NOT_THERE.items():
        caller.refused((*verb.words, *given, *verb.further), status, (said,))


def test_there_are_verbs_and_those_which_say_what_is_wanted_are_among_them() -> None:
    assert {"destroy", "workers add nginx", "workers scale nginx 2", "rotate auth"} | set(WISHES) <= set(
        map(str, VERBS)
    )


def test_what_fits_the_stack_is_taken(folder: Path, home: Home) -> None:
    (folder / "fits.toml").write_text(f'name = "{OURS}"\nhome = "{home.root}"\n[ports]\npublic = 7000\n')
    (folder / "any.toml").write_text("[ports]\npublic = 7000\n")
    for spec in ("fits.toml", "any.toml"):
        where = Where(spec=Path(spec), name=OURS, home=home.root, port=5000)
        assert (where.there(), where.saved()[0].local.ports.public) == (home, 5000), "not what is wanted"
        assert where.wanted().local.ports.public == 5000
        wanted = Where(spec=Path(spec), home=home.root).wanted()
        assert (wanted.name, wanted.local.ports.public) == (OURS, 7000)


def test_a_spec_file_alone_says_which_stack(folder: Path, home: Home) -> None:
    for asked in (Where(spec=Path("elsewhere.toml")).wanted, Where(spec=Path("elsewhere.toml")).there):
        with pytest.raises(WrongCall, match=f"belongs to the stack '{THEIRS}', not '{OURS}' as elsewhere.toml says"):
            asked()
    (folder / "stack.toml").write_text(f'home = "{home.root}"\n')
    assert Where().there() == home


def test_two_names_are_refused_before_there_is_a_stack(folder: Path) -> None:
    with pytest.raises(WrongCall, match="for the stack 'theirs', not 'ours' as --name says"):
        Where(spec=Path("theirs.toml"), name=OURS, home=folder / "empty").wanted()


def test_the_option_counts_before_the_variable(caller: Caller, home: Home) -> None:
    caller.monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    with pytest.raises(SystemExit) as ended:  # so the command line's library ends what went well
        caller.call("lease", "--home", "another", "--name", THEIRS)
    assert ended.value.code == 0
    assert caller.capsys.readouterr().out == "nobody holds the lease\n"


def test_another_stacks_file_in_the_working_folder(folder: Path, home: Home) -> None:
    """A bootstrap would take it, so it is refused; who works on the stack in a home needs none."""
    (folder / "stack.toml").write_text(f'name = "{THEIRS}"\n')
    with pytest.raises(WrongCall, match="belongs to the stack 'ours', not 'theirs'"):
        Where(home=home.root).wanted()
    assert (Where(home=home.root).there(), Where(home=home.root).own_file()) == (home, None)
    (folder / "stack.toml").write_text("# fits every stack\n")
    assert Where(home=home.root).own_file() == folder / "stack.toml"


@pytest.mark.parametrize("port", [None, 5000])
def test_a_stack_whose_spec_is_damaged_is_known_by_its_home_and_name(
    folder: Path, home: Home, port: int | None
) -> None:
    (home.store / WANTED).parent.mkdir(parents=True, exist_ok=True)
    (home.store / WANTED).write_text("{")
    assert Where(home=home.root, name=OURS, port=port).there() == home
