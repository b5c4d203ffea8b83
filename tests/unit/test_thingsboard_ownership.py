from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.thingsboard import ownership
from connectors.thingsboard.ownership import Lock, Ownership, session_holder
from model.errors import OwnershipError, StorageError

SERVER, TOKEN = "tb.example:1883", "very-secret-token"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def state(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    return folder


def test_a_second_owner_of_the_token_fails_and_names_the_first(tmp_path: Path, shared: Path) -> None:
    with Ownership(SERVER, [TOKEN], state(tmp_path, "a"), [shared]):
        with pytest.raises(OwnershipError, match=f"pid {os.getpid()}") as caught:
            Ownership(SERVER, [TOKEN], state(tmp_path, "b"), [shared])
        assert f"kill {os.getpid()}" in caught.value.remedy
        assert str(tmp_path / "a") in caught.value.what
        assert TOKEN not in str(caught.value)


def test_a_second_owner_of_the_outbox_fails(tmp_path: Path, shared: Path) -> None:
    with (
        Ownership(SERVER, [TOKEN], state(tmp_path, "a"), [shared]),
        pytest.raises(OwnershipError, match="the outbox in"),
    ):
        Ownership("other.example:1883", ["other"], state(tmp_path, "a"), [shared])


def test_another_token_or_server_is_another_session(tmp_path: Path, shared: Path) -> None:
    with (
        Ownership(SERVER, [TOKEN], state(tmp_path, "a"), [shared]),
        Ownership(SERVER, ["other"], state(tmp_path, "b"), [shared]),
        Ownership("other.example:1883", [TOKEN], state(tmp_path, "c"), [shared]),
    ):
        assert len(list(shared.iterdir())) == 3


def test_it_is_given_back(tmp_path: Path, shared: Path) -> None:
    for _ in range(2):
        with Ownership(SERVER, [TOKEN], state(tmp_path, "a"), [shared]):
            pass


def test_a_failed_attempt_holds_nothing(tmp_path: Path, shared: Path) -> None:
    first = Ownership(SERVER, [TOKEN], state(tmp_path, "a"), [shared])
    with pytest.raises(OwnershipError):
        Ownership(SERVER, [TOKEN], state(tmp_path, "b"), [shared])
    first.release()
    first.release()
    with Ownership(SERVER, ["other"], state(tmp_path, "b"), [shared]):
        pass


def test_the_file_says_who_but_never_the_token(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", f"--token={TOKEN}"])
    with Ownership(SERVER, [TOKEN], state(tmp_path, "a"), [shared]):
        (file,) = shared.iterdir()
        content = json.loads(file.read_text(encoding="utf-8"))
        assert content["pid"] == os.getpid()
        assert set(content) == {"pid", "started", "state_dir", "command"}
        assert TOKEN not in file.read_text(encoding="utf-8") + file.name


def test_a_process_that_was_killed_leaves_nothing_locked(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    script = (
        "import sys, time; from pathlib import Path; from connectors.thingsboard.ownership import Lock;"
        f"lock = Lock(Path({str(file)!r}), 'it', 'stop', {{}}); print('held', flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(OwnershipError, match=f"pid {process.pid}"):
            Lock(file, "it", "stop {pid}", {})
        process.kill()
    Lock(file, "it", "stop {pid}", {}).release()


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        Ownership(SERVER, [TOKEN], tmp_path / "missing", [])


def test_a_link_in_the_shared_directory_is_not_followed(tmp_path: Path, shared: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious", encoding="ascii")
    with Ownership(SERVER, [TOKEN], state(tmp_path, "a"), [shared]):
        (name,) = [file.name for file in shared.iterdir()]
    (shared / name).unlink()
    (shared / name).symlink_to(target)
    with pytest.raises(StorageError):
        Ownership(SERVER, [TOKEN], state(tmp_path, "a"), [shared])
    assert target.read_text(encoding="ascii") == "precious"


def unique_server() -> str:
    """A server that no other test run on this machine claims."""
    return f"tb-{secrets.token_hex(8)}.example:1883"


def test_the_claim_holds_where_no_directory_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "host_directories", lambda: ())
    server = unique_server()
    with Ownership(server, [TOKEN], state(tmp_path, "a")):
        with pytest.raises(OwnershipError, match=f"belongs to another process: pid {os.getpid()}") as caught:
            Ownership(server, [TOKEN], state(tmp_path, "b"))
        assert f"kill {os.getpid()}" in caught.value.remedy
    Ownership(server, [TOKEN], state(tmp_path, "b")).release()


def test_the_claim_holds_when_a_cleaner_took_the_file_away(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "host_directories", lambda: (shared,))
    server = unique_server()
    with Ownership(server, [TOKEN], state(tmp_path, "a")):
        for file in shared.iterdir():
            file.unlink()
        with pytest.raises(OwnershipError, match=f"pid {os.getpid()}"):
            Ownership(server, [TOKEN], state(tmp_path, "b"))


def test_who_holds_the_session_can_be_asked(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "host_directories", lambda: (shared,))
    server = unique_server()
    assert session_holder(server, [TOKEN]) is None
    with Ownership(server, [TOKEN], state(tmp_path, "a")):
        found = session_holder(server, [TOKEN])
        assert found is not None
        assert (found["pid"], found["state_dir"]) == (str(os.getpid()), str((tmp_path / "a").resolve()))
        with pytest.raises(OwnershipError):  # asking did not take anything away
            Ownership(server, [TOKEN], state(tmp_path, "b"))
    assert session_holder(server, [TOKEN]) is None


def test_every_user_can_read_who_holds_the_lock(tmp_path: Path, shared: Path) -> None:
    before = os.umask(0o077)
    try:
        with Ownership(SERVER, [TOKEN], state(tmp_path, "a"), [shared]):
            (file,) = shared.iterdir()
            assert file.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_a_lock_of_another_user_that_cannot_be_read_stops_nobody(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> int:
        if path.parent == shared:
            raise StorageError(f"the lock {path} cannot be opened") from PermissionError(13, "Permission denied")
        return opened(path)

    opened = ownership._open
    monkeypatch.setattr(ownership, "_open", refuse)
    monkeypatch.setattr(ownership, "host_directories", lambda: (shared,))
    server = unique_server()
    with Ownership(server, [TOKEN], state(tmp_path, "a")), pytest.raises(OwnershipError):
        Ownership(server, [TOKEN], state(tmp_path, "b"))
