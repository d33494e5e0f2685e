"""The seeded faults: one thing of the package taken away or done wrongly, and the test that must notice.

The first ones are quick to try. Each old text stands exactly once in its file, which test_r16_mutants.py makes sure of:
whoever moves the code moves the fault along.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    name: str  # what is broken, in words
    file: str  # of the package
    old: str
    new: str
    caught_by: str  # the test, relative to tests/


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
_PINNED = (
    "test_store_retention.py::test_pinned_snapshots_stay_until_they_are_unpinned_also_after_the_store_was_opened_again"
)
_HELD = "test_retention.py::test_the_one_resumed_from_stays_until_as_many_newer_ones_as_the_policy_keeps_are_there"
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

_RETENTION = (
    Mutant(
        "snapshots go though nothing that stays is known to be whole",
        "catalog/collection.py",
        "relied_on = retention.relied_on(plan) if plan.drop else []",
        "relied_on = list[Snapshot]()",
        "test_store_retention.py::test_a_damaged_newest_one_does_not_count_and_an_older_good_one_stays_for_it",
    ),
    Mutant(
        "the newest goes where no policy wants it",
        "retention.py",
        "for one in (good, everything) if one]",
        "for one in (good, everything) if not one]",
        "test_retention.py::test_the_newest_stays_though_no_policy_wants_it",
    ),
    Mutant(
        "the one resumed from is not held",
        "retention.py",
        "if held is not None and newer < wanted",
        "if held is not None and newer < 0",
        _HELD,
    ),
    Mutant("a pin keeps nothing", "retention.py", "reasons[name].append(_PINNED)", "pass", _PINNED),
    Mutant(
        "a file is removed without a look at what it is by now",
        "catalog/catalog.py",
        "        if not self._is_there(snapshot):\n            return False\n",
        "",
        "test_store_retention.py::test_a_snapshot_that_is_replaced_between_plan_and_removal_stays",
    ),
    Mutant(
        "snapshots of another template count as one's own",
        "catalog/catalog.py",
        "and same_template(facts.template, self.template)",
        "",
        "test_store_retention.py::test_a_changed_template_leaves_the_snapshots_of_the_old_one_alone",
    ),
    Mutant(
        "one snapshot too few is kept",
        "keep.py",
        "return list(snapshots[-self.n :])",
        "return list(snapshots[1 - self.n :])",
        "test_store_retention.py::test_the_policy_is_applied_after_each_save",
    ),
    Mutant(
        "only the newest of those that stay is read before others go",
        "retention.py",
        "or one is staying[-1]]",
        "or one is staying[-1]][:1]",
        "test_store_retention.py::test_as_many_good_ones_stay_as_the_policy_keeps_though_some_of_the_newest_are_damaged",
    ),
    Mutant(
        "what was once read in full is believed for ever",
        "catalog/collection.py",
        "if whole is None or stamp != self.catalog.stamp(snapshot.name) else whole",
        "if whole is None else whole",
        "test_store_retention.py::test_one_that_was_damaged_since_this_process_wrote_it_does_not_count",
    ),
    Mutant(
        "the last that was saved goes for others with higher numbers",
        "retention.py",
        "if saved is not None and identity(saved) in known:",
        "if saved is not None and False:",
        "test_store_retention.py::test_snapshots_of_another_run_that_are_copied_in_do_not_cost_the_one_that_was_just_"
        "saved",
    ),
    Mutant(
        "a pin does not wait for a removal that has begun",
        "catalog/catalog.py",
        "with self.changing:  # a removal",
        "with threading.RLock():  # a removal",
        "test_store_retention.py::test_a_pin_that_comes_while_old_ones_are_removed_is_kept_or_refused",
    ),
    Mutant(
        "sequence numbers begin anew in each process",
        "catalog/catalog.py",
        "max(_highest.get(self._place, 0), *found, 0)",
        "_highest.get(self._place, 0)",
        "test_catalog.py::test_sequence_numbers_go_on_from_the_highest_of_all_headers",
    ),
)

_READING = (
    Mutant(
        "the header's checksum is not compared",
        "format/snapshot_file.py",
        "if raw[HEADER_SUM] != header_sum(raw):",
        "if False:",
        "files/test_file_damage.py::test_bytes_written_over_any_part_are_found",
    ),
    Mutant(
        "the facts' checksum is not compared",
        "format/prefix.py",
        "if not found or page[FACTS_SUM] != facts_sum(page, text):",
        "if not found:",
        "test_catalog.py::test_a_truncated_file_or_one_with_a_flipped_bit_in_its_facts_is_damaged",
    ),
    Mutant(
        "the file's size is not compared with its facts",
        "format/prefix.py",
        "if type(wanted) is not int or wanted != size_bytes:",
        "if type(wanted) is not int:",
        "test_catalog.py::test_a_truncated_file_or_one_with_a_flipped_bit_in_its_facts_is_damaged",
    ),
    Mutant(
        "a leaf's checksum is not compared",
        "format/checking.py",
        "if found != digest:",
        "if False:",
        "format/test_damage.py::test_two_leaves_that_changed_places_are_refused",
    ),
    Mutant(
        "a target is changed before the leaves are verified",
        "files.py",
        "file.verify(tree.leaves() if subtree else None)\n        restored",
        "pass\n        restored",
        "files/test_file_damage.py::test_a_page_that_was_never_written_is_found",
    ),
    Mutant(
        "a checksum of an npz archive is not compared",
        "format/npz.py",
        "if zlib.crc32(content.data) != member.CRC:",
        "if False:",
        "format/test_npz.py::test_a_member_that_does_not_match_its_checksum_is_named",
    ),
    Mutant(
        "a size is believed before it is unpacked",
        "format/npz.py",
        "if member.file_size > MAX_DEFLATE * (len(packed) + 1):",
        "if False:",
        "format/test_npz.py::test_a_size_that_no_deflate_stream_of_that_length_has_is_refused_before_it_is_unpacked",
    ),
    Mutant(
        "a pickle is run",
        "format/npz.py",
        "is_pickled_none(data.tobytes())",
        "__import__('pickle').loads(data.tobytes()) is None",
        "format/test_pickled_none.py::test_a_pickle_is_never_run",
    ),
    Mutant(
        "resume gives up at the first damaged one",
        "catalog/collection.py",
        "except (DamagedError, OSError) as error:",
        "except OSError as error:",
        "test_store_resume.py::test_one_flipped_bit_in_the_newest_makes_resume_take_the_older_one",
    ),
    Mutant(
        "a lack of descriptors is taken for damage",
        "catalog/collection.py",
        "if isinstance(error, FileNotFoundError) or is_exhaustion(error):",
        "if isinstance(error, FileNotFoundError):",
        "test_store_resume.py::test_an_unreadable_file_is_passed_over_and_a_lack_of_descriptors_is_an_error",
    ),
    Mutant(
        "objects are not put back after a restore that failed",
        "state/loading.py",
        "            step.put_back()",
        "            pass",
        "resume/test_half_way.py::test_every_part_of_a_trainer_is_put_back",
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

MUTANTS = (*_ORDER_OF_A_COMMIT, *_DIRECTORIES, *_LOCKS, *_RETENTION, *_READING, *_FULL_DISKS, *_IN_THE_BACKGROUND)
