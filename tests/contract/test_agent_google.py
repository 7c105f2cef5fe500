"""What the host agent on a VM calls at Google, by the standard library alone; on the emulator."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from blocks.agent.google.client import PAUSES, Client, Refused, Unavailable
from blocks.agent.google.objects import Objects
from tests import vm


@pytest.fixture(scope="module")
def host() -> vm.Vm:
    return vm.vm()


def test_an_object_is_read_as_others_wrote_it_and_again_only_when_it_is_another(host: vm.Vm) -> None:
    assert host.objects.read("ledger/inbox") is None
    generation = host.store.write("ledger/inbox", b"first", if_generation=0)
    found = host.objects.read("ledger/inbox")
    assert found is not None and (found.content, found.generation) == (b"first", generation)
    assert host.objects.read("ledger/inbox", unless=generation) is None
    host.store.write("ledger/inbox", b"second", if_generation=generation)
    found = host.objects.read("ledger/inbox", unless=generation)
    assert found is not None and found.content == b"second" and found.generation > generation


def test_an_object_is_written_where_it_has_that_generation(host: vm.Vm) -> None:
    assert host.objects.write("ledger/answers/1", b"one", 0)
    assert not host.objects.write("ledger/answers/1", b"two", 0)
    there = host.store.read("ledger/answers/1")
    assert there is not None and there.content == b"one"
    assert host.objects.write("ledger/answers/1", b"three", there.generation)
    assert host.objects.write("ledger/answers/1", b"four")
    assert host.objects.sizes("ledger/answers/") == {"ledger/answers/1": 4}


def test_a_file_is_fetched_whole_with_its_digest_or_not_at_all(host: vm.Vm, tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    digest, target = hashlib.sha256(content).hexdigest(), tmp_path / "uv"
    host.store.write(f"sha256/{digest}", content, if_generation=0)
    host.objects.fetch(f"sha256/{digest}", target, digest, 0o755)
    assert target.read_bytes() == content and target.stat().st_mode & 0o777 == 0o755
    target.unlink()
    with pytest.raises(Refused, match=f"is damaged: its sha256 is {digest}, not 0000"):
        host.objects.fetch(f"sha256/{digest}", target, "0" * 64)
    with pytest.raises(Refused, match=r"^fetching sha256/none: 404 No such object: .*/sha256/none$"):
        host.objects.fetch("sha256/none", target, digest)
    assert list(tmp_path.iterdir()) == []


def test_a_version_of_a_secret_is_read(host: vm.Vm) -> None:
    host.secrets.ensure("login", lambda: "first")
    assert host.secrets.add_version("login", "second") == 2
    assert host.secret_manager.read(vm.STACK, "login@2") == b"second"
    assert host.secret_manager.read(vm.STACK, "login") == b"first"  # as it was referred to before versions
    with pytest.raises(Refused, match=r"^reading the secret login@9: 404 .*not found"):
        host.secret_manager.read(vm.STACK, "login@9")


@pytest.mark.parametrize("kind", ["error", "reset-before", "page"])
def test_a_call_that_nobody_answers_is_made_again(host: vm.Vm, kind: str) -> None:
    host.store.write(f"tried/{kind}", b"there", if_generation=0)
    with host.project.fault(kind, "storage.objects.get", times=2):
        found = host.objects.read(f"tried/{kind}")
    assert found is not None and found.content == b"there"


def test_a_download_that_is_cut_is_begun_again(host: vm.Vm, tmp_path: Path) -> None:
    content = b"wheel" * 100_000
    digest = hashlib.sha256(content).hexdigest()
    host.store.write(f"sha256/{digest}", content, if_generation=0)
    with host.project.fault("reset-after", "storage.objects.get"):
        host.objects.fetch(f"sha256/{digest}", tmp_path / "wheel", digest)
    assert (tmp_path / "wheel").read_bytes() == content


def test_what_is_not_answered_at_all_is_told_in_one_line_after_a_few_seconds(host: vm.Vm) -> None:
    waited: list[float] = []
    objects = Objects(Client(host.metadata, waited.append), host.bucket, "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"^reading ledger/inbox: Google does not answer: .*refused$"):
        objects.read("ledger/inbox")
    assert waited == list(PAUSES)


def test_a_token_is_asked_for_once_and_anew_when_it_is_refused(host: vm.Vm) -> None:
    client = Client(host.metadata, lambda _: None)
    objects = Objects(client, host.bucket, f"{host.project.address}/storage")
    asked = host.project.cloud.faults.add({"kind": "slow", "service": "metadata"})
    objects.write("token", b"1")
    assert objects.read("token") is not None and asked.seen == 1
    with host.project.fault("error", "storage.objects.get", code=401):
        assert objects.read("token") is not None and asked.seen == 2
    away = Client("127.0.0.1:9", lambda _: None)
    with pytest.raises(Unavailable, match="asking the metadata server for a token: Google does not answer"):
        Objects(away, host.bucket, f"{host.project.address}/storage").read("token")


def test_what_the_account_may_not_is_told_in_one_line(host: vm.Vm) -> None:
    with (
        host.project.fault("error", "secretmanager.*", code=403, message="Permission denied\non it."),
        pytest.raises(Refused, match=r"^reading the secret login@1: 403 Permission denied on it\.$"),
    ):
        host.secret_manager.read(vm.STACK, "login@1")


def test_the_metadata_server_is_found_where_googles_own_libraries_find_it(
    host: vm.Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", host.metadata)
    Objects(Client(), host.bucket, f"{host.project.address}/storage").write("found", b"")
    assert host.store.read("found") is not None
