"""The page's scripts: words for every reason, and the parts that need no browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import gateway.web
from gateway.reasons import EndReason, Refusal

STATIC = Path(gateway.web.__file__).parent / "static"


def table(name: str) -> dict[str, tuple[str, ...]]:
    """A table of reasons.js: its keys, and the words written out in each entry."""
    script = (STATIC / "reasons.js").read_text("utf-8")
    found = re.search(rf"export const {name} = \{{\n(.*?)\n\}};", script, re.DOTALL)
    assert found is not None
    lines = [re.fullmatch(r" {4}(\w+): \[(.+)\],", line) for line in found[1].splitlines()]
    return {line[1]: tuple(re.findall(r'"([^"]+)"', line[2])) for line in lines if line is not None}


class WordsTests(SynchronousTestCase):
    def test_every_close_code_has_words(self) -> None:
        codes = {str(reason.code) for reason in EndReason if reason.code is not None}
        self.assertEqual(codes - set(table("CLOSE_CODES")), set())

    def test_every_refusal_has_words(self) -> None:
        statuses = {str(refusal.status) for refusal in Refusal}
        self.assertEqual(statuses - set(table("STATUSES")), set())

    def test_every_name_that_is_used_has_words(self) -> None:
        scripts = [(STATIC / name).read_text("utf-8") for name in ("console.js", "connection.js")]
        used = {
            name
            for script in scripts
            for name in re.findall(
                r'(?:close|disconnect|explainOther|_found \?\?=|_found =)[ (]"(\w+)"', script
            )
        }
        self.assertTrue(used)
        self.assertEqual(used - set(table("OTHERS")), set())

    def test_words_are_sentences(self) -> None:
        for name in ("CLOSE_CODES", "STATUSES", "OTHERS"):
            entries = table(name)
            self.assertTrue(entries)
            for title, *_ in entries.values():
                self.assertTrue(title[0].isupper() and title[-1].isalpha(), title)

    def test_no_markup_is_ever_made_from_text(self) -> None:
        for path in STATIC.glob("*.js"):
            script = path.read_text("utf-8")
            for word in (
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "Function(",
            ):
                self.assertNotIn(word, script, path.name)


class ScriptTests(SynchronousTestCase):
    def run_script(self, module: str, expression: str) -> Any:
        """The value of an expression that uses a module's exports, which are in scope as ``m``."""
        node = shutil.which("node")
        if node is None:
            raise SkipTest("node is not installed")
        url = (STATIC / module).as_uri()
        script = f"import * as m from {json.dumps(url)}; console.log(JSON.stringify({expression}));"
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

    def test_links(self) -> None:
        wanted: list[tuple[str, Any]] = [
            ("#ticket=abc", ["abc", None, None, None]),
            ("#ticket=a%2Bb%2F%3D&password=p%26w&title=My%20VM", ["a+b/=", "p&w", "My VM", None]),
            ("#ticket=a+b", ["a+b", None, None, None]),
            ("#title=VM&grant=/demo/grant%3Fid=4", [None, None, "VM", "/demo/grant?id=4"]),
            ("#ticket=" + "a" * 65536, ["a" * 65536, None, None, None]),
            ("#ticket=t&title=" + "x" * 200, ["t", None, "x" * 100, None]),
        ]
        links = self.run_script(
            "link.js",
            f"{json.dumps([fragment for fragment, _ in wanted])}"
            ".map(m.parseLink).map(l => [l.ticket, l.password, l.title, l.grant])",
        )
        self.assertEqual(links, [link for _, link in wanted])

    def test_links_that_name_no_console(self) -> None:
        fragments = [
            "",
            "#",
            "#ticket",
            "#ticket=",
            "#password=x",
            "#ticket=%",
            "#ticket=" + "a" * 65537,
            "#ticket=a&x=" + "y" * 140000,
            "#grant=",
            "#grant=demo",
            "#grant=//evil.example/",
            "#grant=https://evil.example/",
            "#grant=/%5Cevil.example/",
            "#grant=/%09/evil.example/",
            "#grant=/%0A/evil.example/",
            "#grant=javascript:1",
            "#grant=/a%20b",
            "#grant=/@evil",
            "#grant=/x%23y",
            "#ticket=good&grant=//evil.example/",
        ]
        links = self.run_script("link.js", f"{json.dumps(fragments)}.map(m.parseLink)")
        self.assertEqual(links, [None] * len(fragments))

    def test_grants(self) -> None:
        grants: list[Any] = [
            None,
            1,
            "t",
            [],
            {},
            {"ticket": 1},
            {"ticket": ""},
            {"ticket": "t", "password": 1},
        ]
        checked = self.run_script("link.js", f"{json.dumps(grants)}.map(m.checkTicket)")
        self.assertEqual(checked, [None] * 7 + [{"ticket": "t", "password": None, "title": None}])

    def test_socket_addresses(self) -> None:
        places = [{"protocol": "https:", "host": "h:6100"}, {"protocol": "http:", "host": "[::1]"}]
        addresses = self.run_script(
            "link.js", f"{json.dumps(places)}.map(p => m.socketAddress(p, 'a+b/c?d#e%2F'))"
        )
        self.assertEqual(
            addresses, ["wss://h:6100/a%2Bb%2Fc%3Fd%23e%252F", "ws://[::1]/a%2Bb%2Fc%3Fd%23e%252F"]
        )

    def test_unknown_codes_show_the_gateways_own_text(self) -> None:
        known, unknown, silent = self.run_script(
            "reasons.js",
            "[m.explainClose(4001, 'x'), m.explainClose(4999, 'Because <b>'), m.explainClose(4999, '')]",
        )
        self.assertIn("refused", known["title"])
        self.assertEqual(unknown["title"], "Because <b>")
        self.assertIn("4999", unknown["advice"])
        self.assertEqual(silent["title"], "The connection ended")

    def test_refusals_show_the_gateways_own_text(self) -> None:
        expired, fine, unknown = self.run_script(
            "reasons.js",
            "[[403, 'Ticket has expired'], [426, 'Upgrade'], [502, '']].map(a => m.explainStatus(...a))",
        )
        self.assertEqual(expired["title"], "Ticket has expired")
        self.assertIn("new console link", expired["advice"])
        self.assertIn("proxy", fine["advice"])
        self.assertIn("502", unknown["advice"])

    def test_an_operators_message_is_shown_as_it_is(self) -> None:
        told, untold, silent, other = self.run_script(
            "reasons.js",
            "[[4023, 'Back at <b>noon</b>'], [4023, 'Ended by an operator'], [4023, ''], [4022, 'x']]"
            ".map(a => m.explainClose(...a))",
        )
        self.assertEqual(told, {"title": "An operator closed the console", "advice": "Back at <b>noon</b>"})
        self.assertEqual(untold, silent)
        self.assertIn("administrator", untold["advice"])
        self.assertNotEqual(other["advice"], "x")
        told, untold, silent = self.run_script(
            "reasons.js",
            f"[[1012, 'Back at noon'], [1012, {json.dumps(EndReason.RESTART.public)}], [1012, '']]"
            ".map(a => m.explainClose(...a))",
        )
        self.assertEqual(told, {"title": "The gateway restarts", "advice": "Back at noon"})
        self.assertEqual(untold, silent)

    def test_advice_for_refusals_is_by_their_own_texts(self) -> None:
        advice = self.run_script("reasons.js", "m.ADVICE")
        self.assertEqual(set(advice) - {refusal.public for refusal in Refusal}, set())
        refusals = [(refusal.status, refusal.public) for refusal in Refusal]
        shown = self.run_script("reasons.js", f"{json.dumps(refusals)}.map(a => m.explainStatus(...a))")
        for (status, public), words in zip(refusals, shown, strict=True):
            self.assertEqual(public == words["title"], status != 426)
            self.assertTrue(words["advice"].endswith("."), words)
            if public in advice:
                self.assertEqual(advice[public], [words["advice"]])

    def test_notices(self) -> None:
        warning = {"type": "warning", "reason": "idle", "seconds": 42.5}
        drain: dict[str, Any] = {"type": "drain", "seconds": 299.9}
        good: list[tuple[Any, Any]] = [
            (warning, warning),
            ({**warning, "reason": "later", "more": 1}, {**warning, "reason": "later"}),
            ({"type": "warning-over", "x": 1}, {"type": "warning-over"}),
            (drain, {**drain, "text": ""}),
            ({**drain, "text": "y" * 400}, {**drain, "text": "y" * 300}),
            ({**drain, "text": 1}, {**drain, "text": ""}),
            ({"type": "drain-over", "x": 1}, {"type": "drain-over"}),
            ({"type": "notice", "text": "<b>" + "x" * 400}, {"type": "notice", "text": "<b>" + "x" * 297}),
        ]
        bad: list[Any] = [
            None,
            1,
            "warning",
            [],
            {},
            {"type": "other"},
            {"type": "warning", "reason": "idle"},
            {**warning, "seconds": "1"},
            {**warning, "seconds": -1},
            {**warning, "seconds": 1e12},
            {"type": "drain"},
            {**drain, "seconds": None},
            {**drain, "seconds": -1},
            {"type": "notice", "text": ""},
            {"type": "notice", "text": 1},
        ]
        texts = [json.dumps(said) for said, _ in good] + [json.dumps(said) for said in bad]
        texts += ["", "{", "NaN", json.dumps({"type": "notice", "text": "x" * 5000})]
        self.assertEqual(
            self.run_script("notices.js", f"{json.dumps(texts)}.map(m.parseNotice)"),
            [understood for _, understood in good] + [None] * (len(bad) + 4),
        )

    def test_words_of_warnings(self) -> None:
        warnings = [("idle", 41.2), ("idle", 60), ("time-limit", 3725), ("time-limit", 0.4), ("other", 120)]
        self.assertEqual(
            self.run_script("notices.js", f"{json.dumps(warnings)}.map(w => m.warningWords(...w))"),
            [
                "No input: this console closes in 42 s. Press a key or move the pointer to stay.",
                "No input: this console closes in 1 min. Press a key or move the pointer to stay.",
                "The time for this console is over in 1 h 2 min 5 s.",
                "The time for this console is over now.",
                "This console closes in 2 min.",
            ],
        )

    def test_words_of_drains(self) -> None:
        drains = [("", 300), ("", 0.2), ("Back at noon", 59.2), ("Really?", 1)]
        self.assertEqual(
            self.run_script("notices.js", f"{json.dumps(drains)}.map(d => m.drainWords(...d))"),
            [
                "The gateway restarts: this console closes in 5 min, and can be opened again then.",
                "The gateway restarts: this console closes now, and can be opened again then.",
                "Back at noon. This console closes in 1 min.",
                "Really? This console closes in 1 s.",
            ],
        )

    def test_the_banner_counts_down_to_what_comes_first(self) -> None:
        shown = self.run_script(
            "notices.js",
            """(() => {
                const parts = [1, 2, 3, 4].map(() => ({ hidden: false, textContent: "?" }));
                const banner = new m.Banner(...parts);
                const seen = [];
                for (const notice of [
                    { type: "drain", seconds: 300, text: "" },
                    { type: "warning", reason: "idle", seconds: 50 },
                    { type: "drain", seconds: 30, text: "Now" },
                    { type: "drain-over" },
                    { type: "drain", seconds: 100, text: "" },
                    { type: "warning-over" },
                    { type: "warning-over" },
                    { type: "drain-over" },
                ]) {
                    banner.show(notice);
                    seen.push([parts[0].hidden, parts[1].textContent, parts[3].textContent]);
                }
                return seen;
            })()""",
        )
        idle = "No input: this console closes in 50 s. Press a key or move the pointer to stay."
        restart = "The gateway restarts: this console closes in {}, and can be opened again then."
        texts = [
            restart.format("5 min"),
            idle,
            "Now. This console closes in 30 s.",
            idle,
            idle,
            restart.format("1 min 40 s"),
            restart.format("1 min 40 s"),
            "",
        ]
        self.assertEqual(shown, [[not text, text, text] for text in texts])

    def test_text_messages_never_reach_the_client_of_the_console(self) -> None:
        wanted = ["send", "close", "binaryType", "onerror", "onmessage", "onopen", "protocol", "readyState"]
        seen = self.run_script(
            "notices.js",
            """(() => {
                const real = new EventTarget();
                const seen = [];
                Object.assign(real, {
                    binaryType: "blob", protocol: "p", readyState: 1,
                    send: data => seen.push(["send", data]), close: () => seen.push(["close"]),
                });
                const socket = new m.ConsoleSocket(real, text => seen.push(["heard", text]));
                // As noVNC looks for them.
                const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(socket));
                const names = [...Object.keys(socket), ...methods];
                const say = (name, fields) => real.dispatchEvent(Object.assign(new Event(name), fields));
                say("open");
                say("message", { data: "before anybody listens" });
                for (const name of ["open", "message", "error", "close"]) {
                    socket[`on${name}`] = event => seen.push([name, event.data ?? event.code ?? null]);
                }
                socket.binaryType = "arraybuffer";
                say("open");
                say("message", { data: [1] });
                say("message", { data: "text" });
                say("message", { data: [2] });
                say("error");
                say("close", { code: 4020 });
                socket.send(3);
                socket.close();
                return [names, seen, real.binaryType, socket.binaryType, socket.protocol, socket.readyState];
            })()""",
        )
        self.assertEqual(set(wanted) - set(seen[0]), set())
        self.assertEqual(
            seen[1],
            [
                ["heard", "before anybody listens"],
                ["open", None],
                ["message", [1]],
                ["heard", "text"],
                ["message", [2]],
                ["error", None],
                ["close", 4020],
                ["send", 3],
                ["close"],
            ],
        )
        self.assertEqual(seen[2:], ["arraybuffer", "arraybuffer", "p", 1])

    def test_the_banner(self) -> None:
        idle = "No input: this console closes in 50 s. Press a key or move the pointer to stay."
        shown = self.run_script(
            "notices.js",
            """(() => {
                const parts = [1, 2, 3, 4].map(() => ({ hidden: false, textContent: "?" }));
                const banner = new m.Banner(...parts);
                const seen = [];
                const look = () => seen.push([...parts.slice(0, 3).map(part => part.hidden),
                    ...parts.slice(1).map(part => part.textContent)]);
                look();
                for (const notice of [
                    { type: "warning", reason: "idle", seconds: 50 },
                    { type: "notice", text: "Hello" },
                    { type: "warning-over" },
                    { type: "warning", reason: "time-limit", seconds: 2 },
                ]) {
                    banner.show(notice);
                    look();
                }
                banner.clear();
                look();
                return seen;
            })()""",
        )
        over = "The time for this console is over in 2 s."
        self.assertEqual(
            shown,
            [
                [True, True, True, "", "", ""],
                [False, False, True, idle, "", idle],
                [False, False, False, idle, "Hello", idle],
                [False, True, False, "", "Hello", ""],
                [False, False, False, over, "Hello", over],
                [True, True, True, "", "", ""],
            ],
        )

    def test_keysyms_of_text(self) -> None:
        keysyms = self.run_script("typing.js", "[...'aZ ~\\n\\u00e9\\u20ac\\u{1f600}'].map(m.keysymOf)")
        self.assertEqual(keysyms, [0x61, 0x5A, 0x20, 0x7E, 0xFF0D, 0xE9, 0x010020AC, 0x0101F600])

    def test_keys_between_two_texts(self) -> None:
        pairs = [["", "ab"], ["ab", "a"], ["abc", "abx"], ["same", "same"], ["ab", ""]]
        keys = self.run_script("typing.js", f"{json.dumps(pairs)}.map(p => m.keysymsBetween(...p))")
        back = 0xFF08
        self.assertEqual(keys, [[0x61, 0x62], [back], [back, 0x78], [], [back, back]])
