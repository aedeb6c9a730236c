"""Where answers come from, and what becomes of them."""

from __future__ import annotations

from twisted.trial import unittest

from gateway.setup.asking.answerfile import render_answers
from gateway.setup.asking.environment import HIDDEN, Entry
from gateway.setup.asking.interview import Question
from gateway.setup.errors import AnswerError, SetupError
from tests.support.interview import ScriptedInterview


class Pages:
    """A journal in memory."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, kind: str, text: str) -> None:
        self.text += f"{kind} {text}\n"


def upper(answer: str) -> str:
    if not answer.isalpha():
        raise AnswerError("only letters will do")
    return answer.upper()


NAME = Question("NAME", "Name", key="K/name", check=upper)


class AskTests(unittest.SynchronousTestCase):
    def test_an_answer_is_kept_as_it_is_used(self) -> None:
        interview = ScriptedInterview({"NAME": ["abc"]})
        self.assertEqual(interview.ask(NAME), "ABC")
        self.assertEqual(interview.environment.get("K/name"), "ABC")
        self.assertEqual(interview.answers, (("QUESTION/1/NAME", "ABC"),))

    def test_people_may_try_again(self) -> None:
        interview = ScriptedInterview({"NAME": ["1", "", "abc"]})
        self.assertEqual(interview.ask(NAME), "ABC")
        self.assertEqual(interview.asked, ["NAME"] * 3)
        self.assertEqual(
            interview.errors, ["Invalid value: only letters will do", "Invalid value: an answer is needed"]
        )
        self.assertEqual(interview.answers, (("QUESTION/1/NAME", "ABC"),))

    def test_a_thousand_times(self) -> None:
        interview = ScriptedInterview({"NAME": ["1"] * 2000})
        error = self.assertRaises(SetupError, interview.ask, NAME)
        self.assertIn("1000 attempts", str(error))
        self.assertEqual(len(interview.asked), 1000)

    def test_a_preset_value_is_not_asked_for(self) -> None:
        interview = ScriptedInterview(values={"K/name": "abc", "K/number": 22})
        self.assertEqual(interview.ask(NAME), "ABC")
        self.assertEqual(interview.ask(Question("PORT", "Port", key="K/number")), "22")
        self.assertEqual(interview.asked, [])

    def test_a_wrong_preset_value_is_fatal(self) -> None:
        interview = ScriptedInterview({"NAME": ["abc"]})
        interview.environment.put("K/name", Entry("12", "a.conf, line 3"))
        error = self.assertRaises(SetupError, interview.ask, NAME)
        self.assertEqual(str(error), "a.conf, line 3: K/name: only letters will do")

    def test_answers_of_a_file_count_up(self) -> None:
        interview = ScriptedInterview(
            values={"QUESTION/1/NAME": "one", "QUESTION/2/NAME": "two"}, answers={"NAME": ["three"]}
        )
        question = Question("NAME", "Name")
        self.assertEqual([interview.ask(question) for _ in range(3)], ["one", "two", "three"])
        self.assertEqual(
            interview.answers,
            (("QUESTION/1/NAME", "one"), ("QUESTION/2/NAME", "two"), ("QUESTION/3/NAME", "three")),
        )

    def test_a_wrong_answer_of_a_file_is_fatal(self) -> None:
        interview = ScriptedInterview({"NAME": ["abc"]})
        interview.environment.put("QUESTION/1/NAME", Entry("12", "a.conf, line 3"))
        error = self.assertRaises(SetupError, interview.ask, NAME)
        self.assertEqual(str(error), "a.conf, line 3: QUESTION/1/NAME: only letters will do")

    def test_a_recorded_mistake_and_its_correction(self) -> None:
        interview = ScriptedInterview(values={"QUESTION/1/NAME": "12", "QUESTION/2/NAME": "abc"})
        self.assertEqual(interview.ask(NAME), "ABC")

    def test_an_answer_counts_more_than_what_is_remembered(self) -> None:
        interview = ScriptedInterview(values={"QUESTION/1/NAME": "new"})
        interview.environment.put("K/name", Entry("old", "post.conf, line 1", remembered=True))
        self.assertEqual(interview.ask(NAME), "NEW")

    def test_what_is_remembered_is_not_asked_for(self) -> None:
        interview = ScriptedInterview()
        interview.environment.put("K/name", Entry("old", "post.conf, line 1", remembered=True))
        self.assertEqual(interview.ask(NAME), "OLD")

    def test_defaults(self) -> None:
        question = Question("Q", "Name", default="abc", check=upper)
        self.assertEqual(ScriptedInterview({"Q": [""]}).ask(question), "ABC")
        accepting = ScriptedInterview(accept_defaults=True)
        self.assertEqual(accepting.ask(question), "ABC")
        self.assertEqual(accepting.asked, [])
        self.assertTrue(accepting.unattended)
        self.assertEqual(ScriptedInterview({"Q": [""]}).ask(Question("Q", "Name", default="")), "")

    def test_without_a_default_the_question_is_put(self) -> None:
        interview = ScriptedInterview({"NAME": ["abc"]}, accept_defaults=True)
        self.assertEqual(interview.ask(NAME), "ABC")

    def test_a_default_that_will_not_do(self) -> None:
        interview = ScriptedInterview(accept_defaults=True)
        question = Question("Q", "Name", default="1", check=upper)
        error = self.assertRaises(SetupError, interview.ask, question)
        self.assertIn("Q", str(error))
        self.assertIn("only letters", str(error))

    def test_short_words_for_yes_and_no(self) -> None:
        question = Question("Q", "Go on", choices=("Yes", "No", "Abort"))
        for answer, meaning in {"y": "Yes", "N": "No", "abort": "Abort"}.items():
            self.assertEqual(ScriptedInterview({"Q": [answer]}).ask(question), meaning)

    def test_choices_in_any_case(self) -> None:
        question = Question("Q", "Which", choices=("OK", "Cancel"))
        self.assertEqual(ScriptedInterview({"Q": ["okay", " cancel "]}).ask(question), "Cancel")
        interview = ScriptedInterview(values={"QUESTION/1/Q": "okay"})
        error = self.assertRaises(SetupError, interview.ask, question)
        self.assertIn("'okay' is none of OK, Cancel", str(error))

    def test_an_answer_that_is_too_long(self) -> None:
        interview = ScriptedInterview({"Q": ["x" * 70000, "y"]})
        self.assertEqual(interview.ask(Question("Q", "Name")), "y")

    def test_passwords_leave_no_trace(self) -> None:
        pages = Pages()
        interview = ScriptedInterview({"P": ["hunter22"]}, journal=pages)
        question = Question("P", "Password", hidden=True, key="K/word")
        self.assertEqual(interview.ask(question), "hunter22")
        self.assertEqual(interview.environment.get("K/word"), "hunter22")
        interview.info("it was hunter22")
        interview.note("hunter22!")
        self.assertEqual(interview.answers, ())
        self.assertNotIn("hunter22", pages.text)
        self.assertNotIn("hunter22", str(interview.dialog.logged + interview.dialog.notes))
        self.assertIn(HIDDEN, pages.text)

    def test_what_is_called_a_password_is_not_told_on(self) -> None:
        interview = ScriptedInterview({"OVESETUP_SOME_PASSWORD": ["hunter22"]})
        interview.ask(Question("OVESETUP_SOME_PASSWORD", "Password"))
        self.assertEqual(interview.answers, ())

    def test_a_password_from_a_file(self) -> None:
        pages = Pages()
        interview = ScriptedInterview(values={"QUESTION/1/P": "hunter22"}, journal=pages)
        self.assertEqual(interview.ask(Question("P", "Phrase", hidden=True)), "hunter22")
        interview.error("hunter22")
        self.assertNotIn("hunter22", pages.text)


class ConfirmTests(unittest.SynchronousTestCase):
    def test_every_way_to_say_it(self) -> None:
        for text, answer in (
            ("y", True),
            ("YES", True),
            ("Yes", True),
            ("n", False),
            ("No", False),
            ("", True),
        ):
            interview = ScriptedInterview({"Q": [text]})
            self.assertIs(interview.confirm("Q", "Really?", True, key="K/q"), answer)
            self.assertIs(interview.environment.get("K/q"), answer)
            self.assertEqual(interview.answers, (("QUESTION/1/Q", "yes" if answer else "no"),))

    def test_files_say_it_in_both_ways(self) -> None:
        for value, answer in ((True, True), (False, False), ("no", False), ("No", False), ("yes", True)):
            self.assertIs(
                ScriptedInterview(values={"K/q": value}).confirm("Q", "?", None, key="K/q"), answer, value
            )
            if isinstance(value, str):
                interview = ScriptedInterview(values={"QUESTION/1/Q": value})
                self.assertIs(interview.confirm("Q", "?", not answer), answer)

    def test_what_is_neither(self) -> None:
        for values in ({"K/q": 0}, {"K/q": "maybe"}, {"QUESTION/1/Q": "maybe"}):
            interview = ScriptedInterview({"Q": ["yes"]}, values)
            error = self.assertRaises(SetupError, interview.confirm, "Q", "?", True, key="K/q")
            self.assertIn("none of Yes, No", str(error))

    def test_without_a_default(self) -> None:
        interview = ScriptedInterview({"Q": ["", "n"]}, accept_defaults=True)
        self.assertFalse(interview.confirm("Q", "?", None))


class CollectTests(unittest.SynchronousTestCase):
    def test_lines(self) -> None:
        interview = ScriptedInterview({"CHAIN": ["a\nb"]})
        self.assertEqual(interview.collect("CHAIN", "Paste"), ["a", "b"])
        self.assertEqual(interview.answers, (("QUESTION/1/CHAIN", "a\nb"),))

    def test_lines_of_a_file(self) -> None:
        for key in ("K/chain", "QUESTION/1/CHAIN"):
            interview = ScriptedInterview(values={key: "a\nb"})
            self.assertEqual(interview.collect("CHAIN", "Paste", key="K/chain"), ["a", "b"])

    def test_too_much(self) -> None:
        interview = ScriptedInterview({"CHAIN": ["\n".join(["x" * 100] * 1000)]})
        self.assertRaises(SetupError, interview.collect, "CHAIN", "Paste")

    def test_what_is_told(self) -> None:
        pages = Pages()
        interview = ScriptedInterview(journal=pages)
        interview.title("PART")
        interview.show("REQUEST", ["a", "b"])
        interview.value("RESULT", "x")
        self.assertEqual(interview.dialog.notes, ["\n--== PART ==--\n"])
        self.assertEqual(interview.dialog.shown, {"REQUEST": ["a", "b"]})
        self.assertEqual(interview.dialog.values, {"RESULT": "x"})
        self.assertEqual(pages.text, "TITLE PART\nSHOWN REQUEST\na\nb\nVALUE RESULT=x\n")


class GeneratedTests(unittest.SynchronousTestCase):
    def test_answers_are_read_back(self) -> None:
        interview = ScriptedInterview({"NAME": ["1", "abc"], "Q": [""], "CHAIN": ["a\nb"]})

        def all_questions(interview: ScriptedInterview) -> list[object]:
            return [
                interview.ask(NAME),
                interview.confirm("Q", "?", False),
                interview.collect("CHAIN", "Paste"),
            ]

        first = all_questions(interview)
        self.assertIn(b"QUESTION/1/Q=str:no\n", render_answers(interview.answers, "x"))
        again = ScriptedInterview(values=dict(interview.answers))
        self.assertEqual(all_questions(again), first)
        self.assertEqual(again.answers, interview.answers)
