"""The seeded faults of what stays and of what is read: retention, and damage that must not go unnoticed."""

from __future__ import annotations

from faults.r16_mutant import Mutant

_PINNED = (
    "test_store_retention.py::test_pinned_snapshots_stay_until_they_are_unpinned_also_after_the_store_was_opened_again"
)
_HELD = "test_retention.py::test_the_one_resumed_from_stays_until_as_many_newer_ones_as_the_policy_keeps_are_there"

RETENTION = (
    Mutant(
        "snapshots go though nothing that stays is known to be whole",
        "catalog/collection.py",
        "relied_on = retention.relied_on(plan) if plan.drop else []",
        "relied_on = list[Snapshot]()",
        "test_store_retention_whole.py::test_a_damaged_newest_one_does_not_count_and_an_older_good_one_stays_for_it",
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
        "test_store_retention_whole.py::test_as_many_good_ones_stay_as_the_policy_keeps_though_some_of_the_newest_are_damaged",
    ),
    Mutant(
        "what was once read in full is believed for ever",
        "catalog/collection.py",
        "if whole is None or stamp != self.catalog.stamp(snapshot.name) else whole",
        "if whole is None else whole",
        "test_store_retention_whole.py::test_one_that_was_damaged_since_this_process_wrote_it_does_not_count",
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

READING = (
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
