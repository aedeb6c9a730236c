"""The dashboard over HTTP, and what its files may and must not do."""

from __future__ import annotations

import re
import shutil
import tempfile
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource

from gateway.web import DASHBOARD_POLICY, PageError, dashboard_resource
from tests.unit.web.test_site import STATIC, Links, get

OWN = STATIC / "dashboard"
SCRIPTS = {path.name: path.read_text("utf-8") for path in OWN.glob("*.js")}
INDEX = (OWN / "index.html").read_text("utf-8")


class ServingTests(SynchronousTestCase):
    resource = dashboard_resource()

    def test_index(self) -> None:
        answer = get(self.resource, "/")
        self.assertEqual((answer.status, answer.body.decode()), (200, INDEX))
        self.assertEqual(answer.headers["content-type"], "text/html; charset=utf-8")

    def test_every_file_is_served_and_nothing_else(self) -> None:
        for path in OWN.iterdir():
            wanted = 404 if path.name == "index.html" else 200
            self.assertEqual(get(self.resource, f"/dashboard/{path.name}").status, wanted, path.name)
        self.assertEqual(get(self.resource, "/dashboard/icon.svg").body, (STATIC / "icon.svg").read_bytes())
        for missing in (
            "/dashboard",
            "/dashboard/",
            "/app.js",
            "/dashboard/x/../app.js",
            "/dashboard%2fapp.js",
            "//",
        ):
            self.assertEqual(get(self.resource, missing).status, 404, missing)

    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
    def test_any_other_path_is_not_found(self, path: str) -> None:
        if path.partition("?")[0] not in {"", *(f"dashboard/{path.name}" for path in OWN.iterdir())}:
            self.assertIn(get(self.resource, f"/{path}").status, (404, 400))

    def test_place_in_the_tree_does_not_matter(self) -> None:
        root = Resource()
        root.putChild(b"", self.resource)
        root.putChild(b"dashboard", self.resource)
        for tree in (root, self.resource):
            for path in ("/", "/dashboard/app.js", "/dashboard/icon.svg"):
                self.assertEqual(get(tree, path).status, 200, path)
            self.assertEqual(get(tree, "/dashboard/nothing.js").status, 404)

    def test_headers(self) -> None:
        for path in ("/", "/dashboard/app.js", "/nothing"):
            headers = get(self.resource, path).headers
            self.assertEqual(headers["content-security-policy"], DASHBOARD_POLICY)
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["referrer-policy"], "no-referrer")
            self.assertEqual(headers["cache-control"], "no-cache")

    def test_policy_allows_nothing_of_others(self) -> None:
        for word in ("unsafe", "http", "*", "data:", "blob:", "ws"):
            self.assertNotIn(word, DASHBOARD_POLICY)
        self.assertIn("frame-ancestors 'none'", DASHBOARD_POLICY)
        self.assertIn("require-trusted-types-for 'script'", DASHBOARD_POLICY)

    def test_other_methods(self) -> None:
        answer = get(self.resource, "/", "POST")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))
        self.assertEqual(get(self.resource, "/", "HEAD").body, b"")

    def test_conditional_requests(self) -> None:
        tag = get(self.resource, "/dashboard/app.js").headers["etag"]
        self.assertEqual(get(self.resource, "/dashboard/app.js", If_None_Match=tag).status, 304)

    def test_broken_installation(self) -> None:
        static = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, static)
        shutil.copytree(OWN, static / "dashboard")
        error = self.assertRaises(PageError, dashboard_resource, static)
        self.assertIn("icon.svg", str(error))

    def test_is_a_resource(self) -> None:
        self.assertTrue(IResource.providedBy(self.resource))
        self.assertIs(self.resource.getChildWithDefault(b"x", None), self.resource)
        self.assertRaises(TypeError, self.resource.putChild, b"x", self.resource)


class Page(HTMLParser):
    """Collects ids, what refers to them, and controls."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.labelled: set[str] = set()
        self.fields: dict[str, dict[str, str | None]] = {}
        self.buttons: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if name := values.get("id"):
            self.ids.append(name)
        for key in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
            self.references |= set((values.get(key) or "").split())
        if tag == "label":
            self.labelled.add(values.get("for") or "")
        if tag == "input":
            self.fields[values.get("id") or ""] = values
        if tag == "button":
            self.buttons.append(values)


class PageTests(SynchronousTestCase):
    page = Page(INDEX)

    def test_page_keeps_its_own_policy(self) -> None:
        links = Links()
        links.feed(INDEX)
        self.assertEqual(links.inline, [])
        names = {f"dashboard/{path.name}" for path in OWN.iterdir()} | {"dashboard/icon.svg"}
        self.assertTrue(links.loads)
        self.assertEqual(links.loads - names, set())

    def test_ids(self) -> None:
        self.assertEqual(len(self.page.ids), len(set(self.page.ids)))
        self.assertEqual(self.page.references - set(self.page.ids), set())

    def test_scripts_find_their_elements(self) -> None:
        used = {name for script in SCRIPTS.values() for name in re.findall(r'element\("([\w-]+)"\)', script)}
        self.assertTrue(used)
        self.assertEqual(used - set(self.page.ids), set())

    def test_every_field_has_a_label(self) -> None:
        self.assertTrue(self.page.fields)
        for name, field in self.page.fields.items():
            self.assertTrue(name in self.page.labelled or field.get("aria-label"), name)

    def test_buttons_submit_only_where_they_mean_to(self) -> None:
        for button in self.page.buttons:
            self.assertIn(button.get("type"), ("button", "submit"), button)

    def test_modules_import_what_is_there(self) -> None:
        for name, script in SCRIPTS.items():
            for module, exported in (
                (match[2], word.strip())
                for match in re.finditer(r'^import \{([^}]+)\} from "\./([\w.]+)";', script, re.MULTILINE)
                for word in match[1].split(",")
            ):
                self.assertRegex(
                    SCRIPTS[module], rf"export (async )?(const|function|class) {exported}\b", name
                )


class SafetyTests(SynchronousTestCase):
    def test_no_markup_is_ever_made_from_text(self) -> None:
        for name, script in SCRIPTS.items():
            for word in (
                *(
                    "innerHTML",
                    "outerHTML",
                    "insertAdjacentHTML",
                    "document.write",
                    "createContextualFragment",
                ),
                *("DOMParser", "srcdoc", "eval(", "Function(", "javascript:"),
            ):
                self.assertNotIn(word, script, name)

    def test_token_is_kept_in_session_storage_alone(self) -> None:
        for name, script in SCRIPTS.items():
            for word in ("localStorage", "document.cookie", "indexedDB", "history.pushState", "location.h"):
                self.assertNotIn(word, script, name)

    def test_colours_can_be_read(self) -> None:
        """WCAG 2.2, success criteria 1.4.3 (4.5:1 for text) and 1.4.11 (3:1 for the edges of controls)."""
        style = (OWN / "dashboard.css").read_text("utf-8")
        light, dark = (
            dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in style.split("@media", 2)[:2]
        )
        self.assertEqual(set(light), set(dark))
        for colours in (light, dark):
            for ink, paper in (
                *((text, paper) for text in ("text", "dim") for paper in ("back", "panel", "raised")),
                *(("text", paper) for paper in ("accent-soft", "warm-soft", "hot-soft")),
                *((ink, "panel") for ink in ("accent", "warm", "hot")),
                *((ink, f"{ink}-soft") for ink in ("accent", "warm", "hot")),
                *(("accent-ink", "accent"), ("hot-ink", "hot"), ("back", "text"), ("dim", "accent-soft")),
            ):
                self.assertGreaterEqual(contrast(colours[ink], colours[paper]), 4.5, f"{ink} on {paper}")
            for paper in ("back", "panel"):
                self.assertGreaterEqual(contrast(colours["edge"], colours[paper]), 3, paper)


def contrast(one: str, other: str) -> float:
    """Contrast of two colours as WCAG defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
