"""``console-gateway sessions`` against a stand-in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from gateway.cli import session_list
from gateway.cli.present import terminal
from gateway.cli.sessions import KINDS, STATES
from gateway.sessions.info import SessionState
from gateway.tickets import Kind
from tests.unit.cli.fake_api import ApiCase, Reply, Request, session
from tests.unit.tickets.samples import words

NASTY = "\x1b[31m[red]x[/red]\x9b2J\u202e\n:smile:"
"""Commands to a terminal, rich markup, text direction, a line break."""
ESCAPED = "\\x1b[31m[red]x[/red]\\x9b2J\\u202e\\n:smile:"


def listing(*found: object, total: int | None = None) -> Reply:
    return Reply.of({"total": len(found) if total is None else total, "sessions": found})


class List(ApiCase):
    def test_a_table(self) -> None:
        second = session(id="b" * 12, subject=None, kind=None, state="connecting", duration=0.4, to_client=0)
        self.api.replies["GET sessions"] = listing(session(), second)
        lines = self.good("sessions").splitlines()
        assert lines[0].split() == words("ID STATE KIND SUBJECT CLIENT TARGET TIME IDLE TO TARGET TO CLIENT")
        assert lines[1].split() == words(
            "4f1f0c5be2aa active vnc alice@example.com 192.0.2.7 hypervisor1.example.com:5900 "
            "3 min 12 s 2.0 KiB 5.0 MiB"
        )
        assert lines[2].split()[:5] == ["b" * 12, "connecting", "-", "-", "192.0.2.7"]
        assert lines[3] == "2 sessions."
        assert self.api.requests[0].path == "/api/v1/sessions"

    def test_nobody(self) -> None:
        self.api.replies["GET sessions"] = listing()
        assert self.good("sessions").splitlines()[1] == "0 sessions."

    def test_more_than_shown(self) -> None:
        self.api.replies["GET sessions"] = listing(session(), total=2345)
        assert "1 of 2345 sessions; --limit shows more." in self.good("sessions", "--limit", "1")
        assert self.api.requests[0].path == "/api/v1/sessions?limit=1"

    def test_filters(self) -> None:
        self.api.replies["GET sessions"] = listing()
        self.good(
            "sessions",
            *("--client", "192.0.2.0/24", "--subject", "a b", "--console", "h:1", "--ticket", "t"),
            *("--kind", "unknown", "--state", "active"),
        )
        query = "client=192.0.2.0%2F24&subject=a+b&console=h%3A1&ticket=t&kind=unknown&state=active"
        assert self.api.requests[0].path == f"/api/v1/sessions?{query}"

    def test_words(self) -> None:
        assert set(KINDS) == {*(kind.value for kind in Kind), "unknown"}
        assert set(STATES) == {state.value for state in SessionState}

    def test_json_is_the_api_s(self) -> None:
        reply = listing(session(new_field=[1]))
        self.api.replies["GET sessions"] = reply
        assert self.good("sessions", "--json") == reply.content.decode() + "\n"

    def test_nothing_commands_the_terminal(self) -> None:
        nasty = dict.fromkeys(
            ("id", "subject", "client", "target", "kind", "state", "security", "ticket"), NASTY
        )
        self.api.replies["GET sessions"] = listing(session(**nasty))
        out = self.good("sessions")
        assert out.replace("\n", "").isprintable()
        assert ESCAPED in out
        for environ in ({}, {"FORCE_COLOR": "1", "TERM": "xterm"}):
            self.api.replies["GET sessions/x"] = Reply.of(session(**nasty, **{NASTY: NASTY}))
            out = self.good("sessions", "show", "x", COLUMNS="500", **environ)
            assert "\x9b" not in out
            assert "\x1b[31m" not in out
            assert ESCAPED in out
        content = json.dumps(session(**nasty), ensure_ascii=False).encode()
        self.api.replies["GET sessions/x"] = Reply(content)
        out = self.good("sessions", "show", "x", "--json")
        assert out.replace("\n", "").isprintable()
        assert json.loads(out)["subject"] == NASTY

    def test_odd_values(self) -> None:
        """Of another version, perhaps: shown somehow, never a traceback."""
        for value in (None, True, -1, 1e300, float("inf"), float("nan"), 10**400, "x", [1], {"a": 1}):
            odd = dict.fromkeys(session(), value)
            self.api.replies["GET sessions"] = listing(odd, {})
            assert "2 sessions." in self.good("sessions")
            self.api.replies["GET sessions/x"] = Reply.of(odd)
            self.good("sessions", "show", "x")
        for wrong in ({}, {"sessions": 1}, {"sessions": [1]}):
            self.api.replies["GET sessions"] = Reply.of(wrong)
            assert "no list of sessions. Is it of the same version" in self.bad("sessions")

    def test_no_colour_off_a_terminal(self) -> None:
        self.api.replies["GET sessions"] = listing(session())
        assert "\x1b" not in self.good("sessions")
        assert "\x1b[" in self.good("sessions", FORCE_COLOR="1", TERM="xterm-256color", COLUMNS="200")

    def test_narrow_terminals(self) -> None:
        self.api.replies["GET sessions"] = listing(session(), session(target="h" * 200 + ":5900"))
        for columns in (200, 100, 80, 60, 40, 20):
            out = self.good("sessions", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm", COLUMNS=str(columns))
            assert "4f1f0c5be2aa" in out
            assert out.count("h") >= 200
            assert ("CLIENT" in out) == (columns >= 80), columns
            assert ("TIME" in out) == (columns >= 60), columns
            assert ("TO TARGET" in out) == (columns >= 200), columns
            lines = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
            assert max(len(line) for line in lines) <= max(columns, 40)

    def test_a_stream_without_unicode(self) -> None:
        self.api.replies["GET sessions"] = listing(session(subject="h\xf6st \u4e2d"))
        assert "h\xf6st \u4e2d" in self.good("sessions")
        stream = terminal().file
        assert getattr(stream, "errors", "backslashreplace") == "backslashreplace"

    def test_show(self) -> None:
        self.api.replies["GET sessions/4f1f0c5be2aa"] = Reply.of(session(security="TLSv1.3, x509", news=1))
        rows = dict(
            line.split("  ", 1) for line in self.good("sessions", "show", "4f1f0c5be2aa").splitlines()
        )
        rows = {name: value.strip() for name, value in rows.items()}
        assert rows["Ticket"] == "4bed56bba902e848"
        assert rows["Started"] == "2030-01-01 00:00:00"
        assert rows["To client"] == "5.0 MiB"
        assert rows["Security"] == "TLSv1.3, x509"
        assert rows["News"] == "1"

    def test_show_quotes_the_id(self) -> None:
        self.api.replies["GET sessions/a%2F..%2F%3Fb%20c"] = Reply.of(session())
        self.good("sessions", "show", "a/../?b c")
        for wrong in ("", ".", ".."):
            assert "this is no id" in self.bad("sessions", "show", wrong, status=2)

    def test_show_nobody(self) -> None:
        text = self.bad("sessions", "show", "none")
        assert text == "Error: the gateway says: There is nothing here (HTTP status 404). See the API.\n"

    def test_usage(self) -> None:
        for arguments in (
            ("sessions", "--kind", "rfb"),
            ("sessions", "--state", "dead"),
            ("sessions", "--limit", "0"),
            ("sessions", "--watch", "0"),
            ("sessions", "show"),
            ("sessions", "--client", "a", "end", "--subject", "b"),
            ("sessions", "--watch", "1", "show", "x"),
        ):
            self.bad(*arguments, status=2)
        assert self.api.requests == []


class End(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.api.replies["GET sessions"] = listing(session(), session(id="b" * 12))
        self.api.replies["POST sessions/end"] = Reply.of({"ended": [session(state="ending")]})

    def posted(self) -> object:
        return json.loads(self.api.requests[-1].body)

    def test_asks(self) -> None:
        result = self.run_cli("sessions", "end", "--client", "192.0.2.7", "--message", "Noon", stdin="y\n")
        assert result.exit_code == 0
        assert result.stdout == "Ended 1 session.\n"
        assert "4f1f0c5be2aa" in result.stderr
        assert "b" * 12 in result.stderr
        assert "End these 2 sessions? [y/N]:" in result.stderr
        assert [request.path for request in self.api.requests] == [
            "/api/v1/sessions?client=192.0.2.7&limit=10000",
            "/api/v1/sessions/end",
        ]
        assert self.posted() == {"client": "192.0.2.7", "message": "Noon"}

    def test_no(self) -> None:
        for answer in ("n\n", "\n", ""):
            result = self.run_cli("sessions", "end", "--all", stdin=answer)
            assert result.exit_code == 1
            assert result.stdout == ""
            assert [request.method for request in self.api.requests] == ["GET"]
            self.api.requests.clear()

    def test_yes(self) -> None:
        out = self.good("sessions", "end", "4f1f0c5be2aa", "--yes")
        assert [request.method for request in self.api.requests] == ["POST"]
        assert self.posted() == {"session": "4f1f0c5be2aa"}
        assert "4f1f0c5be2aa  ending" in out
        assert out.endswith("Ended 1 session.\n")

    def test_what_is_meant(self) -> None:
        for arguments, body in (
            (["--subject", "alice"], {"subject": "alice"}),
            (["--console", "h:1", "--ticket", "t"], {"console": "h:1", "ticket": "t"}),
            (["x", "--client", "::/0"], {"session": "x", "client": "::/0"}),
            (["--all"], {"all": True}),
        ):
            self.good("sessions", "end", "--yes", *arguments)
            assert self.posted() == body

    def test_nothing_fits(self) -> None:
        self.api.replies["GET sessions"] = listing()
        self.api.replies["POST sessions/end"] = Reply.of({"ended": []})
        assert "No session fits; nothing was ended" in self.bad("sessions", "end", "--all")
        result = self.run_cli("sessions", "end", "--all", "--yes")
        assert result.exit_code == 1
        assert result.stdout == "No session fits; nothing was ended.\n"

    def test_json(self) -> None:
        out = self.good("sessions", "end", "--all", "--json", stdin="y\n")
        assert json.loads(out) == {"ended": [session(state="ending")]}
        assert json.loads(self.good("sessions", "--json", "end", "--all", "--yes")) == json.loads(out)

    def test_refused(self) -> None:
        error = {"code": "forbidden", "message": "You may only look"}
        self.api.replies["POST sessions/end"] = Reply.of({"error": error}, 403)
        text = self.bad("sessions", "end", "--all", "--yes")
        assert "You may only look (HTTP status 403). This needs the role 'operate'" in text

    def test_usage(self) -> None:
        for arguments in (
            (),
            ("--all", "x"),
            ("--all", "--client", "a"),
            ("x", "--message", "\xe9" * 61),
            ("x", "--message", "a\nb"),
            ("x", "--message", "\x1b[2J"),
        ):
            text = self.bad("sessions", "end", *arguments, status=2)
            assert "\x1b" not in text
        assert self.api.requests == []
        self.good("sessions", "end", "x", "--yes", "--message", "\xe9" * 60)


class Watch(ApiCase):
    def watch(self, *arguments: str, pauses: Callable[[int], None] = lambda _: None, **environ: str) -> str:
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            pauses(len(slept))
            if len(slept) == 3:
                raise KeyboardInterrupt

        self.patch(session_list, "sleep", sleep)
        now = iter(range(0, 1000, 2))
        self.patch(session_list, "monotonic", lambda: float(next(now)))
        out = self.good("sessions", "--watch", "2", *arguments, **environ)
        assert slept == [2.0] * 3
        return out

    def growing(self, _: Request) -> Reply:
        number = len(self.api.requests)
        return listing(session(to_target=100 * number, to_client=204800 * number))

    def test_rates(self) -> None:
        self.api.replies["GET sessions"] = self.growing
        lines = self.watch().splitlines()
        rows = [line.split()[-4:] for line in lines if line.startswith("4f1f0c5be2aa")]
        assert rows[0][-2:] == ["-", "-"]
        assert rows[1:] == [["50", "B/s", "100", "KiB/s"]] * 2
        assert lines.count("1 session.") == 3

    def test_on_a_terminal(self) -> None:
        self.api.replies["GET sessions"] = self.growing
        out = self.watch(FORCE_COLOR="1", TERM="xterm-256color", COLUMNS="160")
        assert out.startswith("\x1b[?1049h")
        assert out.rstrip().endswith("\x1b[?25h")
        assert "\x1b[?1049l" in out
        assert "100 KiB/s" in out

    def test_json(self) -> None:
        self.api.replies["GET sessions"] = self.growing
        lines = self.watch("--json").splitlines()
        assert [json.loads(line)["sessions"][0]["to_target"] for line in lines] == [100, 200, 300]

    def test_a_gateway_that_is_away_for_a_while(self) -> None:
        self.api.replies["GET sessions"] = [listing(session()), Reply(b"{", length=9), listing(session())]
        out = self.watch()
        assert "in the middle of an answer" in out
        assert "Trying again" in out
        assert out.count("4f1f0c5be2aa") == 2

    def test_a_gateway_that_refuses(self) -> None:
        error = Reply.of({"error": {"code": "x", "message": "No"}}, 401)
        self.api.replies["GET sessions"] = [listing(session()), error]
        self.patch(session_list, "sleep", lambda _: None)
        result = self.run_cli("sessions", "--watch", "1")
        assert result.exit_code == 1
        assert "the gateway says: No" in result.stderr

    def test_no_gateway(self) -> None:
        assert "there is no such socket" in self.bad(
            "sessions", "--watch", "1", CONSOLE_GATEWAY_CONTROL="/nowhere"
        )
