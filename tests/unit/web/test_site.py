"""The console page over HTTP: what is served, with which headers, and what is not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

import gateway.web
from gateway.web import CONTENT_SECURITY_POLICY, PageError, console_resource, novnc_available

STATIC = Path(gateway.web.__file__).parent / "static"
OWN = {path.name for path in STATIC.iterdir() if path.is_file()}


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(resource: IResource, request: bytes) -> Answer:
    """Send a request to a site with this root; take the answer apart."""
    site = Site(resource, reactor=Clock())
    protocol = site.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(request)
    head, _, body = transport.value().partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


def get(resource: IResource, path: str, method: str = "GET", **headers: str) -> Answer:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return ask(resource, f"{method} {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n".encode("latin-1"))


class Links(HTMLParser):
    """Collects what a page loads, and everything inline that its policy would block."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: set[str] = set()
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.loads |= {value for name in ("src", "href") if (value := values.get(name))}
        if tag == "style" or (tag == "script" and not values.get("src")):
            self.inline.append(tag)
        self.inline += [name for name in values if name == "style" or name.startswith("on")]


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.static = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.static)
        for name in OWN:
            shutil.copyfile(STATIC / name, self.static / name)

    def add(self, name: str, content: str = "export default 1;\n") -> None:
        path = self.static / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def complete(self) -> IResource:
        self.add("novnc/VERSION", "1.2.3\n")
        self.add("novnc/core/rfb.js")
        self.add("novnc/core/util/events.js")
        self.add("novnc/vendor/pako/lib/zlib/inflate.js")
        return console_resource(self.static)

    def assertSecure(self, answer: Answer) -> None:
        self.assertEqual(answer.headers["content-security-policy"], CONTENT_SECURITY_POLICY)
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertEqual(answer.headers["referrer-policy"], "no-referrer")
        self.assertEqual(answer.headers["cross-origin-opener-policy"], "same-origin")
        self.assertEqual(answer.headers["cache-control"], "no-cache")

    def test_policy_allows_no_inline_code_and_no_other_origin(self) -> None:
        for word in ("unsafe", "http", "*", "ws:"):
            self.assertNotIn(word, CONTENT_SECURITY_POLICY)

    def test_files_and_types(self) -> None:
        resource = self.complete()
        for path, content_type, name in (
            ("/", "text/html; charset=utf-8", "console.html"),
            ("/console.html", "text/html; charset=utf-8", "console.html"),
            ("/console.js", "text/javascript; charset=utf-8", "console.js"),
            ("/console.css?x=y", "text/css; charset=utf-8", "console.css"),
            ("/icon.svg", "image/svg+xml", "icon.svg"),
            ("/novnc/core/util/events.js", "text/javascript; charset=utf-8", "novnc/core/util/events.js"),
        ):
            answer = get(resource, path)
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, content_type))
            self.assertEqual(answer.body, (self.static / name).read_bytes())
            self.assertSecure(answer)

    def test_everything_the_page_has_is_served_and_nothing_else_is_there(self) -> None:
        resource = self.complete()
        for name in OWN:
            self.assertEqual(get(resource, f"/{name}").status, 200, name)

    def test_page_keeps_its_own_policy(self) -> None:
        links = Links()
        links.feed((STATIC / "console.html").read_text("utf-8"))
        self.assertEqual(links.inline, [])
        self.assertTrue(links.loads)
        self.assertTrue(links.loads <= OWN, links.loads - OWN)

    def test_head(self) -> None:
        resource = self.complete()
        answer = get(resource, "/console.js", "HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.headers["content-length"], str((self.static / "console.js").stat().st_size))
        self.assertSecure(answer)

    def test_other_methods(self) -> None:
        resource = self.complete()
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
            answer = get(resource, "/", method)
            self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))
            self.assertSecure(answer)

    def test_conditional_requests(self) -> None:
        resource = self.complete()
        tag = get(resource, "/console.js").headers["etag"]
        for header in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            answer = get(resource, "/console.js", If_None_Match=header)
            self.assertEqual((answer.status, answer.body), (304, b""))
            self.assertEqual(answer.headers["etag"], tag)
            self.assertSecure(answer)
        self.assertEqual(get(resource, "/console.js", If_None_Match='"other"').status, 200)
        self.assertNotEqual(get(resource, "/console.css").headers["etag"], tag)

    def test_paths_that_mean_no_file(self) -> None:
        self.add("secret.txt", "secret")
        self.add("novnc/core/secret.txt", "secret")
        self.add("novnc/package.json", "secret")
        resource = self.complete()
        for path in (
            "/secret.txt",
            "/novnc",
            "/novnc/",
            "/novnc/core",
            "/novnc/core/",
            "/novnc/VERSION",
            "/novnc/package.json",
            "/novnc/core/secret.txt",
            "/novnc//core/rfb.js",
            "/novnc%2fcore%2frfb.js",
            "/novnc/core/../core/rfb.js",
            "/novnc/core/%2e%2e/core/rfb.js",
            "/console.js/",
            "/console.js/x",
            "/./console.js",
            "/../console.js",
            "/%2e%2e/site.py",
            "/..%2fsite.py",
            "/..\\site.py",
            "/%5cconsole.js",
            "//evil.example/..%2f",
            "//console.js",
            "/console.js%00",
            "/CONSOLE.JS",
            "/%c3%a9",
        ):
            answer = get(resource, path)
            self.assertEqual((answer.status, answer.body), (404, b"Not found\n"), path)
            self.assertNotIn("location", answer.headers)
            self.assertSecure(answer)

    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
    def test_any_other_path_is_not_found(self, path: str) -> None:
        if path.partition("?")[0] in {"", *OWN}:
            return
        answer = get(self.resource(), f"/{path}")
        self.assertIn(answer.status, (404, 400))
        self.assertNotIn("location", answer.headers)

    def resource(self) -> IResource:
        """One resource for all the examples of a property."""
        if not hasattr(self, "_resource"):
            self._resource = self.complete()
        return self._resource

    def test_mounted(self) -> None:
        root = Resource()
        root.putChild(b"console", self.complete())
        self.assertEqual(get(root, "/console/").status, 200)
        self.assertEqual(get(root, "/console/novnc/core/rfb.js").status, 200)
        self.assertEqual(get(root, "/console/nothing").status, 404)
        answer = get(root, "/console?x=//evil.example/")
        self.assertEqual((answer.status, answer.headers["location"]), (308, "./console/"))
        self.assertSecure(answer)

    def test_links_out_of_the_library_are_not_followed(self) -> None:
        self.add("outside.js")
        resource = self.complete()
        (self.static / "novnc/core/link.js").symlink_to(self.static / "outside.js")
        (self.static / "novnc/vendor/all").symlink_to(self.static)
        resource = console_resource(self.static)
        self.assertEqual(get(resource, "/novnc/core/link.js").status, 404)
        self.assertEqual(get(resource, "/novnc/vendor/all/console.js").status, 404)

    def test_files_are_read_once(self) -> None:
        resource = self.complete()
        before = get(resource, "/console.js")
        self.add("console.js", "changed")
        self.add("novnc/core/late.js")
        self.assertEqual(get(resource, "/console.js"), before)
        self.assertEqual(get(resource, "/novnc/core/late.js").status, 404)

    def test_without_the_library(self) -> None:
        self.assertFalse(novnc_available(self.static))
        resource = console_resource(self.static)
        answer = get(resource, "/")
        self.assertEqual(answer.status, 503)
        self.assertIn(b"python -m gateway.web.fetch", answer.body)
        self.assertSecure(answer)
        self.assertEqual(get(resource, "/", "HEAD").body, b"")
        self.assertEqual(get(resource, "/novnc/core/rfb.js").status, 404)
        self.complete()
        self.assertTrue(novnc_available(self.static))

    def test_broken_installation(self) -> None:
        (self.static / "console.js").unlink()
        error = self.assertRaises(PageError, console_resource, self.static)
        self.assertIn("console.js", str(error))

    def test_too_much_is_refused(self) -> None:
        self.add("novnc/core/big.js", " " * (9 * 1024 * 1024))
        self.assertRaises(PageError, console_resource, self.static)

    def test_too_many_are_refused(self) -> None:
        names: Iterable[str] = (f"novnc/core/{number}.js" for number in range(500))
        for name in names:
            self.add(name)
        self.assertRaises(PageError, console_resource, self.static)
