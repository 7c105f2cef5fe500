"""`selfhost carry-out`: the host's side of what is asked of it from outside."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress

from blocks import ledgers
from blocks.errors import Blocked, Conflict, SelfhostError
from blocks.host import verbs
from blocks.host.home import Home
from blocks.host.host import Host
from blocks.ledger import Ledger
from blocks.requests import Request
from flows.cli import launch, terminal
from flows.cli.where import HERE, Where, app


@app.command(name="carry-out", show=False)
def carry_out(*, where: Where = HERE) -> None:
    """On the stack's host: carry out what its ledger asks for, answer, and report how the host is; once."""
    home = where.there()
    launch.silence_prefect()
    ledger, requests = ledgers.of(home), ledgers.requests(home)
    request = requests.take(ledger.id)
    if request is not None and not requests.answer(request, _outcome(home, ledger, request)):
        terminal.err_line(f"{request.verb} was answered too late: whoever had asked for it has given up")
    seen = Host(home).observe()
    if seen is not None:
        with suppress(Conflict):  # a VM's agent reports by itself, and was quicker
            requests.write_status(seen)


def _outcome(home: Home, ledger: Ledger, request: Request) -> verbs.Answer | SelfhostError:
    """The answer of the verb, or what kept it from one."""
    try:
        with _right(ledger, request):
            return verbs.carry_out(home.root, request.verb, request.arguments)
    except SelfhostError as error:
        return error
    except Exception as error:  # noqa: BLE001 (said to whoever asked; here nobody reads it)
        return Blocked(f"{request.verb} failed on the host: {type(error).__name__}: {error}", "selfhost logs agent")


def _right(ledger: Ledger, request: Request) -> AbstractContextManager[object]:
    """The asker's lease, for a verb that changes the stack; it is handed back at the end."""
    if request.verb not in verbs.NEED_LEASE:
        return nullcontext()
    return ledger.carried(request.number, f"{request.verb}, asked for from outside")
