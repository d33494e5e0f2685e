"""The seeded faults: one thing of the package taken away or done wrongly, and the test that must notice.

The first ones are quick to try. Those of retention and of reading stand in r16_keeping.py. Each old text stands exactly
once in its file, which test_r16_mutants.py makes sure of: whoever moves the code moves the fault along.
"""

from __future__ import annotations

from faults.r16_keeping import READING, RETENTION
from faults.r16_mutant import Mutant

LATER = "__import__('threading').Timer(1.0, {}).start()"
"""Done in a second: what is told before then is told too early."""

_UPLOAD = "storage/local_upload.py"
_COMMIT_ORDER = (
    "storage/test_local_upload.py::test_bytes_are_synced_before_the_name_and_the_name_before_the_commit_returns"
)
_LASTING = "storage/test_local_faults.py::test_an_error_that_lasts_fails_the_save_without_retrying_for_ever"
_LIVING = "storage/test_temporaries.py::test_a_sweep_leaves_what_a_living_process_writes"
_SECOND_PROCESS = "test_lock.py::test_a_second_process_is_refused_and_told_who_is_in_the_way"
_STAGED = "test_staging.py::test_numpy_arrays_and_plain_values_are_those_of_the_call"
_UNHEARD = (
    "writers/test_engine.py::test_a_failure_that_nobody_asked_for_is_raised_at_the_next_submit_which_does_its_job_"
    "nevertheless"
)

_ORDER_OF_A_COMMIT = (
    Mutant("the file is not synced", _UPLOAD, "syscalls.fsync(file.fd)", "pass", _COMMIT_ORDER),
    Mutant(
        "the directory is not synced after the rename",
        _UPLOAD,
        "directories.sync(os.path.dirname(self._path))",
        "pass",
        _COMMIT_ORDER,
    ),
    Mutant(
        "the size is not checked",
        _UPLOAD,
        "self._check_size()",
        "pass",
        "storage/test_local_upload.py::test_the_size_is_checked_before_anything_is_synced",
    ),
    Mutant(
        "a temporary file takes a name that is taken (no O_EXCL)",
        "storage/temporaries.py",
        "os.O_RDWR | os.O_CREAT | os.O_EXCL",
        "os.O_RDWR | os.O_CREAT",
        "storage/test_temporaries.py::test_a_name_that_is_taken_is_not_used_for_a_temporary_file",
    ),
    Mutant(
        "a commit that fails is not aborted",
        "commit.py",
        "upload.abort()",
        "pass",
        "test_commit.py::test_whatever_stops_a_commit_it_is_aborted_and_the_older_one_stays",
    ),
    Mutant(
        "acknowledged before the name is durable",
        _UPLOAD,
        "self._sync_directory()\n",
        LATER.format("self._sync_directory") + "\n",
        _COMMIT_ORDER,
    ),
    Mutant(
        "the name before the bytes are durable",
        _UPLOAD,
        "            syscalls.fsync(file.fd)\n"
        '        with failing(*where, "it could not be closed"):\n'
        "            file.close()\n"
        '        with failing(*where, "it could not be given its name"):\n'
        "            syscalls.rename(file.path, self._path)\n",
        "            syscalls.rename(file.path, self._path)\n"
        '        with failing(*where, "it could not be given its name"):\n'
        "            syscalls.fsync(file.fd)\n"
        '        with failing(*where, "it could not be closed"):\n'
        "            file.close()\n",
        _COMMIT_ORDER,
    ),
    Mutant(
        "the file is copied to its name, not renamed",
        _UPLOAD,
        "syscalls.rename(file.path, self._path)",
        "__import__('shutil').copyfile(file.path, self._path), os.unlink(file.path)",
        "storage/test_local_upload.py::test_replacing_a_name_leaves_the_file_that_a_reader_has_open_as_it_was",
    ),
    Mutant(
        "a failed sync is tried again",
        _UPLOAD,
        "            syscalls.fsync(file.fd)",
        "            try:\n                syscalls.fsync(file.fd)\n            except OSError:\n"
        "                syscalls.fsync(file.fd)",
        "storage/test_local_faults.py::test_a_file_whose_sync_failed_is_never_synced_again",
    ),
    Mutant(
        "a failed sync of the file is no error",
        _UPLOAD,
        "            syscalls.fsync(file.fd)",
        "            try:\n                syscalls.fsync(file.fd)\n            except OSError:\n                pass",
        _LASTING,
    ),
    Mutant("a failed close is no error", _UPLOAD, "            file.close()", "            file.release()", _LASTING),
    Mutant(
        "a short write is taken for a whole one",
        "storage/direct_io.py",
        "view = view[taken:]",
        "view = view[len(view) :]",
        "storage/test_local_upload.py::test_short_and_interrupted_writes_are_continued",
    ),
    Mutant(
        "a file is not cut to its size after whole blocks",
        "storage/direct_io.py",
        "syscalls.truncate(fd, self._size_bytes)",
        "pass",
        "storage/test_direct_io.py::test_room_is_reserved_first_and_the_last_block_is_written_whole_and_then_cut",
    ),
    Mutant(
        "a savefun's file is not synced",
        "storage/handover.py",
        "syscalls.fsync(fd)",
        "pass",
        "storage/test_handover.py::test_bytes_are_synced_before_the_name_and_the_directory_after_it",
    ),
)

_DIRECTORIES = (
    Mutant(
        "the directories above a new file are not synced",
        "storage/local.py",
        "directories.sync_upwards(directory)",
        "pass",
        "storage/test_directories.py::test_new_directories_are_synced_with_their_parents_before_the_first_byte",
    ),
    Mutant(
        "only directories that this process made are synced",
        "storage/local.py",
        "if directories.make(directory) or directory not in self._durable:",
        "if directories.make(directory):",
        "storage/test_directories.py::test_directories_of_unknown_age_are_synced_once_by_each_storage",
    ),
    Mutant(
        "a removal is not synced",
        "storage/local.py",
        "directories.sync(os.path.dirname(path))",
        "pass",
        "test_store_retention.py::test_the_names_of_what_was_removed_are_gone_for_good",
    ),
    Mutant(
        "a symbolic link is read as a file (no O_NOFOLLOW)",
        "storage/local.py",
        "os.O_RDONLY | syscalls.NOFOLLOW | syscalls.NONBLOCK",
        "os.O_RDONLY | syscalls.NONBLOCK",
        "storage/test_local.py::test_links_and_what_is_no_regular_file_are_no_names",
    ),
    Mutant(
        "a name leads through a linked directory",
        "storage/local.py",
        "if stat.S_ISLNK(syscalls.stat(path, follow_symlinks=False).st_mode):",
        "if False:",
        "storage/test_local.py::test_names_through_a_linked_directory_are_refused_and_not_listed",
    ),
    Mutant(
        "a name leads upwards",
        "storage/base.py",
        'if not {"", ".", ".."}.isdisjoint(components):',
        'if not {"", "."}.isdisjoint(components):',
        "storage/test_local.py::TestLocalStorage::test_a_name_that_leads_elsewhere_is_refused_by_every_method",
    ),
)

_LOCKS = (
    Mutant(
        "a temporary file is not locked",
        "storage/temporaries.py",
        "locked = _lock(self.fd)",
        "locked = None",
        _LIVING,
    ),
    Mutant(
        "a sweep takes what a living process writes",
        "storage/temporaries.py",
        "if not _lock(fd):",
        "if _lock(fd) is None:",
        _LIVING,
    ),
    Mutant(
        "a sweep takes what this process writes",
        "storage/temporaries.py",
        "and entry.name not in _own",
        "",
        "storage/test_temporaries.py::test_a_sweep_leaves_what_this_process_writes_where_only_record_locks_exist",
    ),
    Mutant(
        "a sweep takes hidden files of others",
        "storage/temporaries.py",
        "if is_own_name(entry.name)",
        "if entry.name.startswith('.')",
        "storage/test_temporaries.py::test_a_sweep_goes_as_deep_as_it_is_told_and_touches_nothing_else",
    ),
    Mutant(
        "the lock of a store keeps nobody out",
        "lock.py",
        "if syscalls.lock_record(fd, _BYTE):",
        "if syscalls.lock_record(fd, _BYTE) or True:",
        _SECOND_PROCESS,
    ),
    Mutant(
        "nobody waits for the writer process of a killed trainer",
        "lock.py",
        "            _wait(directory, fd)\n",
        "",
        "test_lock_orphans.py::test_a_shared_lock_keeps_a_later_process_waiting_until_it_ends",
    ),
    Mutant(
        "a writer process is not given the lock",
        "series.py",
        "lock_fd=-1 if self._lock is None else self._lock.share()",
        "lock_fd=-1",
        "engine/test_killed_trainers.py::test_a_trainer_that_starts_before_the_snapshot_is_durable_waits_for_it_and_"
        "says_so",
    ),
    Mutant(
        "a writer process leaves orders behind when its trainer is gone",
        "writers/helper_process.py",
        "self._gone = self._pidfd in ready\n",
        "self._gone = self._pidfd in ready\n                if self._gone:\n                    return None\n",
        "writers/test_helper_process.py::test_orders_are_read_to_the_end_when_the_trainer_has_gone_and_others_hold_the_"
        "socket",
    ),
    Mutant(
        "a forked child goes on with its parent's temporary files",
        "storage/temporaries.py",
        "os.register_at_fork(after_in_child=disown)",
        "pass",
        "storage/test_temporaries.py::test_a_forked_child_neither_uses_nor_drops_nor_holds_what_its_parent_is_writing",
    ),
)

_FULL_DISKS = (
    Mutant(
        "what is free is not looked at",
        "storage/local.py",
        "check_room(path, size_bytes)",
        "pass",
        "test_store_failures.py::test_free_space_is_looked_at_before_anything_is_made",
    ),
    Mutant(
        "with warn a mistake of the program is only told",
        "series.py",
        "return isinstance(error, OSError) or",
        "return True or",
        "test_store_failures.py::test_what_is_of_the_machine",
    ),
    Mutant(
        "with warn a full disk is raised",
        "series.py",
        "return isinstance(error, OSError) or",
        "return False and",
        "test_store_failures.py::test_with_warn_it_costs_that_snapshot_only_and_is_logged_once_with_its_path",
    ),
)

_IN_THE_BACKGROUND = (
    Mutant(
        "the state is copied after the call",
        "staging.py",
        "self._copier_for(plan).copy(reading.arrays, reading.addresses)",
        "threading.Timer(0.05, self._copier_for(plan).copy, (reading.arrays, reading.addresses)).start()",
        _STAGED,
    ),
    Mutant(
        "the memory of a snapshot is given away before it is written",
        "series.py",
        "            self._writer.submit(job)",
        "            self._arenas.give_back(arena, arena.lease)\n            self._writer.submit(job)",
        "test_store_save.py::test_what_is_written_is_the_state_at_the_moment_of_the_call",
    ),
    Mutant(
        "a failure that nobody has heard of is forgotten",
        "writers/engine.py",
        "self._book.raise_unseen(but=pending)",
        "pass",
        _UNHEARD,
    ),
    Mutant(
        "acknowledged before it is committed",
        "writers/outcome.py",
        "        snapshot = job.commit()",
        f"        snapshot: object = {LATER.format('job.commit')}",
        "test_store_retention.py::test_nothing_is_removed_before_the_newer_snapshot_and_its_name_are_durable",
    ),
    Mutant(
        "older snapshots go before the new one is told of",
        "writers/outcome.py",
        "        pending.write_s = write_s\n",
        "        after(snapshot)\n        pending.write_s = write_s\n",
        "writers/test_engine.py::test_memory_is_released_before_the_future_is_done_and_old_ones_are_removed_after",
    ),
)

MUTANTS = (*_ORDER_OF_A_COMMIT, *_DIRECTORIES, *_LOCKS, *RETENTION, *READING, *_FULL_DISKS, *_IN_THE_BACKGROUND)
