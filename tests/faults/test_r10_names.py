"""R10: whatever a name is, and whatever lies in a store, nothing outside it is touched; see r10_names.py."""

from __future__ import annotations

import pytest

from faults.broken import Change, use_broken_copy
from faults.campaigns import Unavailable, in_processes
from faults.r10_names import NAMES, campaign, one
from faults.r10_plants import CASES
from faults.r10_strace import look_at, under_strace
from faults.r10_watch import Watch
from holdfast.storage.base import LOCK_NAME, check_name

TEMPORARY = ".0123456789abcdef.holdfast-tmp"
LISTED = (
    "storage/local.py",
    "if file.is_file(follow_symlinks=False) and not is_reserved(file.name):",
    "if file.is_file() and not is_reserved(file.name):",
)
READ = (
    "storage/local.py",
    "fd = syscalls.open(path, os.O_RDONLY | syscalls.NOFOLLOW | syscalls.NONBLOCK)",
    "fd = syscalls.open(path, os.O_RDONLY | syscalls.NONBLOCK)",
)
ASKED_FOR = (
    "storage/local.py",
    "            found = syscalls.stat(path, follow_symlinks=False)\n        except OSError as error:",
    "            found = syscalls.stat(path)\n        except OSError as error:",
)
OPENED = (
    "lock.py",
    "fd = syscalls.open(path, os.O_RDWR | os.O_CREAT | syscalls.NOFOLLOW)",
    "fd = syscalls.open(path, os.O_RDWR | os.O_CREAT)",
)
BREAKS: dict[str, tuple[list[Change], tuple[str, str]]] = {  # how, and what finds it out, planted under which name
    "names may lead upwards": (
        [("storage/base.py", 'if not {"", ".", ".."}.isdisjoint(components):', "if False:")],
        ("", ""),
    ),
    "linked folders are followed": (
        [("storage/local.py", "if stat.S_ISLNK(syscalls.stat(path, follow_symlinks=False).st_mode):", "if False:")],
        ("a link to a folder", "model"),
    ),
    "linked files are read": ([LISTED, READ], ("a link to a snapshot", "snapshot_3")),
    "a linked pin is taken for one": ([ASKED_FOR], ("a link to a text", ".snapshot_1.holdfast-pin")),
    "a linked lock file is opened": ([OPENED], ("a link to a text", LOCK_NAME)),
    "a text goes into whatever the lock file is a link of": (
        [("lock.py", "is_ours=found.st_nlink <= 1", "is_ours=True")],
        ("a hard link", LOCK_NAME),
    ),
    "linked folders are swept": (
        [("storage/handover.py", "entry.is_dir(follow_symlinks=False)", "entry.is_dir()")],
        ("a link to a folder", TEMPORARY + ".d"),
    ),
    "links are swept": (
        [
            ("storage/temporaries.py", "        and entry.is_file(follow_symlinks=False)\n", ""),
            ("storage/temporaries.py", "path, os.O_RDWR | syscalls.NOFOLLOW)", "path, os.O_RDWR)"),
        ],
        ("a link to a text", TEMPORARY),
    ),
    "the names of others are removed": (
        [("catalog/catalog.py", "name == facts.name or", "name or")],
        ("a hard link", "snapshot_77"),
    ),
}


@pytest.mark.timeout(120)
def test_nothing_outside_a_store_is_touched_whatever_its_names_are(tmp_path):
    outcome = campaign(NAMES, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried >= NAMES


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_package_is_found_out(tmp_path, monkeypatch, what):
    changes, planted = BREAKS[what]
    use_broken_copy(monkeypatch, tmp_path / "broken", *changes)
    [outcome] = in_processes(one, [(*planted, str(tmp_path / "scratch"))])
    assert outcome.bad_count > 0


@pytest.mark.timeout(120)
def test_strace_sees_what_a_link_is_followed_to(tmp_path, monkeypatch):
    use_broken_copy(monkeypatch, tmp_path / "broken", LISTED)
    try:
        outcome = under_strace(tmp_path / "scratch", {"snapshot_77": "text"})
    except Unavailable as error:
        pytest.skip(str(error))
    assert [what for what in outcome.bad if "outside/text" in what]


@pytest.mark.parametrize(
    ("line", "is_bad"),
    [
        ('7 openat(AT_FDCWD</w>, "{}/store/a", O_RDONLY|O_CLOEXEC) = 5<{}/store/a>', False),
        ('7 openat(AT_FDCWD</w>, "{}/store/a", O_RDONLY|O_CLOEXEC) = 5<{}/outside/a>', True),
        ('7 openat(AT_FDCWD</w>, "{}/store/../outside/a", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file)', True),
        ('7 openat(AT_FDCWD<{}/outside>, "a", O_RDONLY) = -1 ENOENT (No such file)', True),
        ('7 openat(AT_FDCWD</w>, "{}", O_RDONLY|O_DIRECTORY) = 5<{}>', False),
        ('7 rename("{}/store/a", "{}/store/b") = 0', False),
        ('7 rename("{}/store/a", "{}/b") = 0', True),
        ('7 unlink("{}/store/a") = 0', False),
        ('7 unlink("/usr/lib/x") = -1 EPERM (Operation not permitted)', True),
        ('7 newfstatat(AT_FDCWD</w>, "/usr/lib/x", 0x7ffd, 0) = 0', False),
        ('7 newfstatat(AT_FDCWD</w>, "{}/outside", 0x7ffd, 0) = 0', True),
        ('7 openat(AT_FDCWD</w>, "/usr/lib/x", O_RDONLY|O_CLOEXEC <unfinished ...>', False),
        ('7 openat(AT_FDCWD</w>, "/root/x", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 5</root/x>', True),
    ],
)
def test_a_line_of_strace_is_understood(tmp_path, line, is_bad):
    watch = Watch(str(tmp_path / "store"), str(tmp_path))
    assert look_at(line.replace("{}", str(tmp_path)), watch)
    assert bool(watch.bad) == is_bad


def test_every_kind_of_thing_is_planted_under_every_kind_of_name():
    assert len(CASES) == len(set(CASES)) == 108


@pytest.mark.parametrize(
    "name",
    [LOCK_NAME.upper(), "a/.Holdfast-Lock", ".x.Holdfast-Tmp", ".0123456789abcdef.holdfast-tmp.d/a", f"{LOCK_NAME}/a"],
)
def test_names_that_a_file_system_may_take_for_holdfasts_own_are_refused(name):
    with pytest.raises(ValueError, match="is no name inside a storage"):
        check_name(name)
