"""Templates of names: which are the same, and which names they can make."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.catalog import same_template, template_pattern
from holdfast.catalog.templates import check_step_template


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("snapshot_{step:08d}", "snapshot_{step}"),
        ("gen_{.updater.iteration}", "gen_{.updater.iteration:06d}"),
        ("gen_{.updater.iteration}", "gen_{0.updater.iteration!s}"),
        ("a{{b}}{step}", "a{{b}}{step:3d}"),
        ("model/it_{0[iteration]}.npz", "model/it_{[iteration]:>8}.npz"),
        ("fixed", "fixed"),
        ("no { format", "no { format"),
    ],
)
def test_templates_are_the_same_once_format_specs_and_conversions_are_dropped(one, other):
    assert same_template(one, other)
    assert same_template(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gen_{.updater.iteration}", "dis_{.updater.iteration}"),
        ("it_{.updater.iteration}", "it_{.updater.epoch}"),
        ("snapshot_{step}", "snapshot_{step}.npz"),
        ("a{{b}}{step}", "a{b}{step}"),
        ("a{step}b", "ab{step}"),
        ("{step}{step}", "{step}"),
        ("fixed", "fixed_{step}"),
        ("no { format", "no } format"),
        ("no { format", "snapshot_{step}"),
    ],
)
def test_templates_that_differ_in_text_or_fields_are_not_the_same(one, other):
    assert not same_template(one, other)
    assert not same_template(other, one)


class Trainer:
    """What Chainer's templates are applied to."""

    def __init__(self, iteration, epoch_detail):
        self.updater = self
        self.iteration = iteration
        self.epoch_detail = epoch_detail


@settings(deadline=None)
@given(
    iteration=st.integers(0, 10**12),
    epoch_detail=st.floats(0, 1e6),
    template=st.sampled_from(
        [
            "snapshot_iter_{.updater.iteration}",
            "model/{0.updater.iteration:06d}.npz",
            "{0.updater.iteration!s:0>9}_{0.updater.epoch_detail:.3f}",
            "at {.updater.epoch_detail} (best) [{{x}}]",
            "100%_{.updater.epoch_detail:.1%}",
        ]
    ),
)
def test_the_pattern_of_a_template_matches_every_name_that_it_makes(iteration, epoch_detail, template):
    assert template_pattern(template).fullmatch(template.format(Trainer(iteration, epoch_detail)))


@pytest.mark.parametrize(
    "name", ["model_best", "model_card.md", "model_", "model_1.5", "model_7.npz", "xmodel_7", "model_-1"]
)
def test_the_pattern_of_a_template_matches_no_other_name(name):
    assert not template_pattern("model_{.updater.iteration}").fullmatch(name)


def test_the_pattern_gives_the_numbers_of_a_name():
    assert template_pattern("a.{.x}_{.epoch_detail}").fullmatch("a.0012_3.5").groups() == ("0012", "3.5")


def test_what_is_no_format_string_has_no_pattern():
    with pytest.raises(ValueError, match="expected '}'"):
        template_pattern("snapshot_{step")


@pytest.mark.parametrize("character", ["\ud800", "a\udc80\ud800"])
def test_a_template_whose_names_no_file_can_have_is_refused(character):
    with pytest.raises(ValueError, match="wanted a format string"):
        check_step_template(character + "_{step}")
