from __future__ import annotations

import logging

import pytest

from holdfast.training import make_extension
from training.fakes import FailingUpdater, Recorder, Resuming


class TestErrors:
    def test_an_exception_of_the_loop_reaches_every_handler_and_comes_out(self, make, journal):
        seen = []
        error = OSError("no data")

        @make_extension(on_error=lambda *arguments: seen.append(arguments))
        def handler(trainer):
            pass

        trainer = make(FailingUpdater(error), extensions=[Recorder("a", journal), handler, Recorder("b", journal)])
        with pytest.raises(OSError, match="no data") as raised:
            trainer.run(show_loop_exception_msg=False)
        assert raised.value is error
        [(told, exc, tb)] = seen
        assert (told, exc) == (trainer, error)
        assert tb.tb_next is not None
        assert journal == [
            *["a.initialize", "b.initialize", "a.on_error", "b.on_error", "a.finalize", "b.finalize"],
        ]
        assert trainer.updater.finalized == 1

    def test_a_handler_that_fails_is_logged_and_keeps_no_other_from_being_called(self, make, journal, caplog):
        bad = Recorder("bad", journal, fails={"on_error": ValueError("a bad handler")})
        trainer = make(FailingUpdater(OSError("no data")), extensions=[bad, Recorder("good", journal)])
        with pytest.raises(OSError, match="no data"):
            trainer.run(show_loop_exception_msg=False)
        assert "good.on_error" in journal
        [record] = caplog.records
        assert (record.name, record.levelno) == ("holdfast", logging.ERROR)
        assert "'Recorder'" in record.getMessage()
        assert "a bad handler" in caplog.text

    def test_the_message_is_chainers_and_comes_before_the_handlers(self, make, capsys):
        said_by_then = []

        @make_extension(on_error=lambda *_: said_by_then.append(capsys.readouterr().err))
        def handler(trainer):
            pass

        with pytest.raises(OSError, match="no data"):
            make(FailingUpdater(OSError("no data")), extensions=[handler]).run()
        first, second, *trace, last = said_by_then[0].splitlines()
        assert first == "Exception in main training loop: no data"
        assert second == "Traceback (most recent call last):"
        assert any("raise self.error" in line for line in trace)
        assert last == "Will finalize trainer extensions and updater before reraising the exception."

    def test_the_message_can_be_left_out(self, make, capsys):
        with pytest.raises(OSError, match="no data"):
            make(FailingUpdater(OSError("no data"))).run(show_loop_exception_msg=False)
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(143)])
    def test_an_interrupt_is_no_error_and_everything_is_finalized(self, make, journal, capsys, interrupt):
        trainer = make(FailingUpdater(interrupt), extensions=[Recorder("r", journal)])
        with pytest.raises(type(interrupt)):
            trainer.run()
        assert journal == ["r.initialize", "r.finalize"]
        assert trainer.updater.finalized == 1
        assert capsys.readouterr().err == ""

    def test_the_end_of_an_iterator_comes_out_as_it_is(self, make):
        with pytest.raises(StopIteration):
            make(FailingUpdater(StopIteration())).run(show_loop_exception_msg=False)

    def test_a_finalize_that_fails_keeps_no_other_from_being_called_and_comes_out(self, make, journal, caplog):
        first, second = OSError("the first"), OSError("the second")
        trainer = make(
            extensions=[
                Recorder("a", journal, fails={"finalize": first}),
                Recorder("b", journal, fails={"finalize": second}),
                Recorder("c", journal),
            ]
        )
        with pytest.raises(OSError, match="the first"):
            trainer.run()
        assert journal[-3:] == ["a.finalize", "b.finalize", "c.finalize"]
        assert trainer.updater.finalized == 1
        [record] = caplog.records
        assert record.exc_info[1] is second

    def test_a_finalize_that_fails_does_not_hide_the_error_of_the_loop(self, make, journal, caplog):
        late = ValueError("a failed write")
        trainer = make(
            FailingUpdater(OSError("no data")), extensions=[Recorder("a", journal, fails={"finalize": late})]
        )
        with pytest.raises(OSError, match="no data"):
            trainer.run(show_loop_exception_msg=False)
        assert "a failed write" in caplog.text

    def test_an_updater_that_cannot_be_finalized_does_not_hide_the_error_of_the_loop(self, make, caplog):
        class Stuck(FailingUpdater):
            def finalize(self):
                raise ValueError("a stuck worker")

        with pytest.raises(OSError, match="no data"):
            make(Stuck(OSError("no data"))).run(show_loop_exception_msg=False)
        assert "a stuck worker" in caplog.text

    def test_an_interrupt_while_finalizing_ends_that_one_and_comes_out(self, make, journal):
        hanging = Recorder("hanging", journal, fails={"finalize": KeyboardInterrupt()})
        trainer = make(extensions=[hanging, Recorder("next", journal)])
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
        assert journal[-2:] == ["hanging.finalize", "next.finalize"]

    def test_an_initialize_that_fails_finalizes_those_that_were_initialized(self, make, journal):
        trainer = make(
            extensions=[
                Recorder("a", journal),
                Recorder("bad", journal, fails={"initialize": OSError("no GPU")}),
                Recorder("c", journal),
            ]
        )
        with pytest.raises(OSError, match="no GPU"):
            trainer.run()
        assert journal == ["a.initialize", "bad.initialize", "a.finalize"]
        assert trainer.updater.finalized == 1

    def test_a_resume_that_fails_finalizes_those_that_were_resumed(self, make, journal):
        trainer = make(
            extensions=[
                Recorder("plain", journal),
                Resuming("a", journal),
                Resuming("bad", journal, fails={"resume": OSError("damaged")}),
            ]
        )
        with pytest.raises(OSError, match="damaged"):
            trainer.run()
        assert journal == ["a.resume", "bad.resume", "a.finalize"]

    def test_an_error_before_training_is_an_error_of_the_loop(self, make, journal):
        trainer = make()
        trainer.extend(Recorder("a", journal, fails={"call": OSError("no data")}), call_before_training=True)
        with pytest.raises(OSError, match="no data"):
            trainer.run(show_loop_exception_msg=False)
        assert journal == ["a.initialize", "a.call", "a.on_error", "a.finalize"]
