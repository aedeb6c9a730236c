"""The dashboard's scripts that need no page: numbers, filters, events, rates, ends."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.web.test_site import STATIC

MAKE = """
const session = (id, changes = {}) => ({
    id, ticket: "t" + id, subject: "alice", client: "192.0.2.1", target: "vm1:5900", kind: "vnc",
    state: "active", security: null, started: 1, duration: 10, idle: 5, to_target: 0, to_client: 0,
    ...changes,
});
"""


class ModuleTests(SynchronousTestCase):
    def value(self, module: str, body: str) -> Any:
        """What a function body returns that uses a module's exports, which are in scope as ``m``."""
        node = shutil.which("node")
        if node is None:
            raise SkipTest("node is not installed")
        url = (STATIC / "dashboard" / module).as_uri()
        script = (
            f"import * as m from {json.dumps(url)};{MAKE}"
            f"console.log(JSON.stringify(await (async () => {{{body}}})()));"
        )
        done = subprocess.run(
            [node, "--input-type=module"],
            input=script,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    # -- format.js

    def test_sizes(self) -> None:
        sizes = [0, 999, 1000, 12345, 99960, 999_600, 5e9, 7e17, -1, None]
        self.assertEqual(
            self.value("format.js", f"return {json.dumps(sizes)}.map(m.formatBytes)"),
            ["0 B", "999 B", "1.0 kB", "12.3 kB", "100 kB", "1.0 MB", "5.0 GB", "700 PB", "0 B", "0 B"],
        )
        self.assertEqual(
            self.value("format.js", "return [null, 0, 2500].map(m.formatRate)"),
            ["\u2013", "0 B/s", "2.5 kB/s"],
        )

    def test_durations(self) -> None:
        durations = [0, 59.9, 60, 200, 3600, 7500, 86399, 90000, -5, None]
        self.assertEqual(
            self.value("format.js", f"return {json.dumps(durations)}.map(m.formatDuration)"),
            [
                *("0 s", "59 s", "1 min", "3 min 20 s", "1 h", "2 h 5 min", "23 h 59 min", "1 d 1 h"),
                *("0 s", "0 s"),
            ],
        )

    def test_counts_and_bytes_of_texts(self) -> None:
        self.assertEqual(
            self.value(
                "format.js",
                "return [m.plural(1, 'session'), m.plural(5000, 'session'), m.formatCount(1234567),"
                "m.utf8Length('aé€\\u{1f600}')]",
            ),
            ["1 session", "5,000 sessions", "1,234,567", 10],
        )

    def test_times_that_make_no_sense(self) -> None:
        self.assertEqual(
            self.value("format.js", "return [m.formatTime(1e300), m.formatDay(NaN)]"), ["?", "?"]
        )

    # -- filter.js

    def test_filters(self) -> None:
        cases = (
            ("", "123"),
            ("ALICE", "1"),
            ("vm1", "12"),
            ("vm1 bob", "2"),
            ('subject="Bob Smith"', "2"),
            ("subject=bob", ""),
            ("subject:bob", "2"),
            ("kind=unknown", "3"),
            ("kind=vnc state=active", "1"),
            ("client=2001:db8::1", "3"),
            ("2001:db8::1", "3"),
            ("console=[2001:db8::5]:5900", "3"),
            ("CONSOLE=vm1:5900", "12"),
            ('"smith"', "2"),
            ('"bob smith"', "2"),
            ("vm1:5900", "12"),
            ("nothing:here", ""),
            ("constructor=x", ""),
            ("__proto__:x", ""),
            ('subject="', "123"),
            ("subject=", ""),
        )
        found = self.value(
            "filter.js",
            'const all = [session("1"), session("2", {subject: "Bob Smith", kind: "spice"}), session("3",'
            '{subject: null, client: "2001:db8::1", kind: null, target: "[2001:db8::5]:5900"})];'
            f"return {json.dumps([text for text, _ in cases])}.map(m.parseFilter).map(terms =>"
            "all.filter(each => m.matches(terms, each, m.searchText(each))).map(each => each.id).join(''))",
        )
        for (text, wanted), ids in zip(cases, found, strict=True):
            self.assertEqual(ids, wanted, text)

    def test_what_the_api_can_select(self) -> None:
        cases: tuple[tuple[str, Any], ...] = (
            ("subject=alice", {"subject": "alice"}),
            ("subject=Alice client=192.0.2.1", {"subject": "Alice", "client": "192.0.2.1"}),
            ('console="a b" ticket=t1 session=s', {"console": "a b", "ticket": "t1", "session": "s"}),
            ("subject:alice", None),
            ("subject=alice vm1", None),
            ("kind=vnc", None),
            ("subject=a subject=b", None),
            ("", None),
        )
        texts = json.dumps([text for text, _ in cases])
        selectors = self.value("filter.js", f"return {texts}.map(text => m.selectorOf(m.parseFilter(text)))")
        self.assertEqual(selectors, [wanted for _, wanted in cases])

    def test_terms_mean_what_they_were_made_of(self) -> None:
        values = ["alice", "Bob Smith", "a:b=c", "[::1]:5900", "x" * 300, 'say "a \\" b', '"', "\\"]
        back = self.value(
            "filter.js",
            f"return {json.dumps(values)}"
            ".map(value => m.selectorOf(m.parseFilter(m.exactTerm('subject', value))).subject)",
        )
        self.assertEqual(back, values)

    # -- events.js

    def test_events_cut_anywhere(self) -> None:
        text = (
            ': hello\r\n\r\nid: 1\nevent: a\ndata: {"x":\ndata:  "é"}\n\n'
            "event: lost\r\ndata: 2\r\n\r\ndata\n\nid: 9\n\n"
        )
        events = self.value(
            "events.js",
            f"const text = {json.dumps(text)};"
            "const read = (...parts) => { const p = new m.EventParser();"
            "    return parts.flatMap(part => p.take(part)); };"
            "const whole = JSON.stringify(read(text));"
            "for (let i = 0; i <= text.length; i++) for (let j = i; j <= text.length; j += 3)"
            "    if (JSON.stringify(read(text.slice(0, i), text.slice(i, j), text.slice(j))) !== whole)"
            "        throw new Error(`cut at ${i} and ${j}`);"
            "return JSON.parse(whole)",
        )
        self.assertEqual(
            events,
            [
                {"id": "1", "name": "a", "data": '{"x":\n "é"}'},
                {"id": "1", "name": "lost", "data": "2"},
                {"id": "1", "name": "message", "data": ""},
            ],
        )

    def test_a_line_without_an_end(self) -> None:
        said = self.value(
            "events.js",
            "const parser = new m.EventParser(); try { for (;;) parser.take('x'.repeat(65536)); }"
            "catch (error) { return error.name; }",
        )
        self.assertEqual(said, "RangeError")

    # -- sessions.js

    def test_rates_go_by_the_gateways_clock(self) -> None:
        rates = self.value(
            "sessions.js",
            "const s = new m.Sessions(); const seen = [];"
            "const look = () => seen.push([s.rows.get('1').down, s.rows.get('1').up, s.down, s.up]);"
            "s.replace([session('1')], 0); look();"
            "s.replace([session('1', {duration: 14, to_client: 4000, to_target: 8})], 1); look();"
            "s.replace([session('1', {duration: 14.1, to_client: 9000})], 2); look();"
            "s.replace([session('1', {duration: 18, to_client: 4000, to_target: 8})], 3); look();"
            "return seen",
        )
        self.assertEqual(
            rates, [[None, None, None, None], [1000, 2, 1000, 2], [1000, 2, 1000, 2], [0, 0, 0, 0]]
        )

    def test_events_are_newer_than_a_reading_that_was_asked_for_before(self) -> None:
        ids = self.value(
            "sessions.js",
            "const s = new m.Sessions(); const seen = [];"
            "const look = () => seen.push([...s.rows.keys()].join(''));"
            "s.replace([session('1'), session('2')], 100); look();"
            "s.take(session('3'), 210); s.end('1', 220); look();"
            "s.replace([session('1'), session('2')], 200); look();"  # asked for before both
            "s.replace([session('2')], 300); look();"  # the third has ended, unseen
            "s.end('4', 400); s.take(session('4'), 410); look();"  # a late event
            "return seen",
        )
        self.assertEqual(ids, ["12", "23", "23", "2", "2"])

    def test_readings_in_parts(self) -> None:
        ids = self.value(
            "sessions.js",
            "const s = new m.Sessions(); const seen = [];"
            "const look = () => seen.push([...s.rows.keys()].join(''));"
            "s.replace([session('1'), session('2'), session('3')], 1, false); look();"
            "s.replace([session('1'), session('3')], 2, false); look();"  # perhaps it was missed
            "s.replace([session('1'), session('2'), session('3')], 3, false); look();"
            "s.replace([session('1'), session('3')], 4, false); look();"
            "s.replace([session('1'), session('3')], 5, false); look();"
            "s.replace([session('1')], 6, false); s.end('3', 6); look();"
            "return seen",
        )
        self.assertEqual(ids, ["123", "132", "123", "132", "13", "1"])

    def test_warnings(self) -> None:
        seen = self.value(
            "sessions.js",
            "const s = new m.Sessions(); s.replace([session('1')], 0);"
            "s.warn(session('1', {duration: 11}), 'idle', 30, 1000);"
            "const first = s.rows.get('1').warning;"
            "s.replace([session('1', {duration: 12, idle: 7})], 2000); const kept = s.rows.get('1').warning;"
            "s.replace([session('1', {duration: 14, idle: 1})], 4000);"
            "return [first, kept, s.rows.get('1').warning]",
        )
        self.assertEqual(seen, [{"reason": "idle", "until": 31000}] * 2 + [None])

    def test_sorting(self) -> None:
        orders = self.value(
            "sessions.js",
            "const s = new m.Sessions();"
            "s.replace([session('1', {subject: 'vm10', idle: 3}), session('2', {subject: null, idle: 1}),"
            "session('3', {subject: 'VM9', idle: 2}), session('4', {subject: 'vm9', idle: 2})], 0);"
            "return [['subject', false], ['subject', true], ['idle', true], ['idle', false], ['what', false]]"
            ".map(([key, down]) => s.select([], key, down).map(row => row.session.id).join(''))",
        )
        self.assertEqual(orders, ["3412", "1342", "1342", "2341", "3412"])

    def test_ends_are_not_remembered_for_ever(self) -> None:
        kept = self.value(
            "sessions.js",
            "const s = new m.Sessions(); for (let i = 0; i < 1e5; i++) s.end(String(i), 100 * i);"
            "return s._ended.size",
        )
        self.assertLess(kept, 3000)

    # -- ending.js

    def test_messages(self) -> None:
        problems = self.value(
            "ending.js",
            r"return ['', 'a'.repeat(120), 'é'.repeat(60), 'é'.repeat(61), 'a\nb'].map(m.messageProblem)",
        )
        self.assertEqual(problems[:3], ["", "", ""])
        self.assertIn("2 bytes", problems[3])
        self.assertIn("one line", problems[4])

    def test_ending_by_selector_and_one_by_one(self) -> None:
        calls = self.value(
            "ending.js",
            "const calls = [], done = []; const api = { post: async (path, body) => {"
            "    calls.push(body);"
            "    return { ended: body.session === '2' ? [] : [{ id: body.session ?? 'x' }] }; } };"
            "const all = await m.endSessions(api, { selector: { all: true }, ids: ['1', '2'] }, 'Bye');"
            "const some = await m.endSessions(api, { selector: null, ids: ['1', '2', '3'] }, '',"
            "    { progress: n => done.push(n) });"
            "return [calls, all, some, done]",
        )
        self.assertEqual(calls[0], [{"all": True, "message": "Bye"}, *({"session": each} for each in "123")])
        self.assertEqual(calls[1:], [["x"], ["1", "3"], [1, 2, 3]])

    def test_patience_and_failure(self) -> None:
        seen = self.value(
            "ending.js",
            "let refused = 0; const api = { post: async (path, { session }) => {"
            "if (session === '1' && refused++ < 2) throw { status: 429, wait: 0 };"
            "if (session === '9') throw { status: 500 }; return { ended: [{ id: session }] }; } };"
            "const patient = await m.endSessions(api, { selector: null, ids: ['1'] }, '');"
            "try { await m.endSessions(api, { selector: null, ids: ['2', '3', '4', '9', '5', '6'] }, ''); }"
            "catch ({ status, ended }) {"
            "    return [patient, status, ended.includes('2'), ended.includes('9')]; }",
        )
        self.assertEqual(seen, [["1"], 500, True, False])

    def test_stopping(self) -> None:
        seen = self.value(
            "ending.js",
            "const stopper = new AbortController(); const api = { post: async (path, { session }) => {"
            "if (session === '3') stopper.abort(); return { ended: [{ id: session }] }; } };"
            "const ids = Array.from({ length: 50 }, (_, i) => String(i));"
            "const { signal } = stopper;"
            "return (await m.endSessions(api, { selector: null, ids }, '', { signal })).length",
        )
        self.assertLess(seen, 10)
