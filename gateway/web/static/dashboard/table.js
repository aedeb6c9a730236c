/**
 * The table of sessions. Only the rows that can be seen exist, so 5,000 sessions cost no more than 50.
 *
 * A row belongs to one session for as long as it exists: a button never comes to mean another session while
 * somebody presses it.
 */

import { formatDuration, formatRate } from "./format.js";
import { element, make, setAttribute, setText } from "./page.js";

const ROW_HEIGHT = 36; // As in dashboard.css.
const SPARE = 8;

export class Table extends EventTarget {
    /** Events: "sort" (detail: {key, descending}), "select", "end" and "details" (detail: a session's id). */
    constructor() {
        super();
        this._scroller = element("sessions-scroller");
        this._table = element("sessions-table");
        this._body = element("sessions-body");
        this._above = element("sessions-above").firstElementChild;
        this._below = element("sessions-below").firstElementChild;
        this._rows = [];
        this._made = new Map();
        this._selected = new Set();
        this._descending = false;
        this._key = "subject";
        this._scroller.addEventListener("scroll", () => this._draw(), { passive: true });
        new ResizeObserver(() => this._draw()).observe(this._scroller);
        this._body.addEventListener("click", event => this._clicked(event));
        this._body.addEventListener("change", event => this._checked(event));
        element("select-all").addEventListener("change", event => this._selectAll(event.currentTarget.checked));
        for (const button of this._table.querySelectorAll("thead button")) {
            button.addEventListener("click", () => this._sort(button.dataset.key));
        }
    }

    get key() {
        return this._key;
    }

    get descending() {
        return this._descending;
    }

    /** Ids of those that are ticked; all of them are among the rows. */
    get selected() {
        return [...this._selected];
    }

    /** Show these rows, of Sessions.select(). What is no longer among them is no longer ticked. */
    show(rows) {
        this._rows = rows;
        if (this._selected.size) {
            const there = new Set(rows.map(row => row.session.id));
            this._selected = new Set([...this._selected].filter(id => there.has(id)));
        }
        setAttribute(this._table, "aria-rowcount", rows.length + 1);
        this._showSelection();
        this._draw();
    }

    clearSelection() {
        this._selected.clear();
        this._showSelection();
        this._draw();
    }

    focus() {
        this._scroller.focus({ preventScroll: true });
    }

    _sort(key) {
        const counts = ["duration", "idle", "down", "up"].includes(key);
        this._descending = key === this._key ? !this._descending : counts;
        this._key = key;
        for (const head of this._table.querySelectorAll("th[aria-sort]")) {
            const mine = head.firstElementChild.dataset.key === key;
            head.setAttribute("aria-sort", mine ? (this._descending ? "descending" : "ascending") : "none");
        }
        this._scroller.scrollTop = 0;
        this.dispatchEvent(new CustomEvent("sort"));
    }

    _selectAll(isOn) {
        this._selected = new Set(isOn ? this._rows.map(row => row.session.id) : []);
        this._showSelection();
        this._draw();
    }

    _checked({ target }) {
        const id = target.closest("tr").dataset.id;
        if (target.checked) {
            this._selected.add(id);
        } else {
            this._selected.delete(id);
        }
        this._showSelection();
    }

    _showSelection() {
        const all = element("select-all");
        all.checked = this._rows.length > 0 && this._selected.size === this._rows.length;
        all.indeterminate = this._selected.size > 0 && !all.checked;
        this.dispatchEvent(new CustomEvent("select"));
    }

    _clicked({ target }) {
        const button = target.closest("button");
        if (button !== null) {
            this.dispatchEvent(new CustomEvent(button.dataset.action, { detail: button.closest("tr").dataset.id }));
        }
    }

    /** Make the rows that can be seen, and a few more, and let go of the others. */
    _draw() {
        const first = Math.max(0, Math.floor(this._scroller.scrollTop / ROW_HEIGHT) - SPARE);
        const count = Math.ceil(this._scroller.clientHeight / ROW_HEIGHT) + 2 * SPARE;
        const start = Math.min(first, Math.max(0, this._rows.length - count));
        const seen = this._rows.slice(start, start + count);
        const focused = this._body.contains(document.activeElement) ? document.activeElement : null;
        const kept = new Map();
        let place = this._body.firstElementChild;
        for (const [offset, row] of seen.entries()) {
            const line = this._made.get(row.session.id) ?? new Line(row.session.id);
            kept.set(row.session.id, line);
            line.show(row, start + offset + 2, this._selected.has(row.session.id));
            if (line.node === place) {
                place = place.nextElementSibling;
            } else {
                this._body.insertBefore(line.node, place);
            }
        }
        for (const [id, line] of this._made) {
            if (!kept.has(id)) {
                line.node.remove();
            }
        }
        this._made = kept;
        setHeight(this._above, start);
        setHeight(this._below, Math.max(0, this._rows.length - start - seen.length));
        if (focused !== null && document.activeElement !== focused) {
            // Moving a row takes the focus from it; a row that went leaves it to the table.
            (focused.isConnected ? focused : this._scroller).focus({ preventScroll: true });
        }
    }
}

/** One row. */
class Line {
    constructor(id) {
        const cell = (name, ...children) => make("td", { class: name }, ...children);
        this._box = make("input", { type: "checkbox" });
        this._subject = make("button", { type: "button", class: "link", "data-action": "details" });
        this._end = make("button", { type: "button", class: "small", "data-action": "end", text: "End" });
        this._state = make("span", { class: "state" });
        this._cells = Object.fromEntries(
            ["console", "kind", "client", "duration", "idle", "down", "up", "ticket"].map(name => [name, cell(name)]),
        );
        const { console: target, kind, client, duration, idle, down, up, ticket } = this._cells;
        this.node = make(
            "tr", { "data-id": id },
            cell("tick operate", this._box), make("th", { scope: "row", class: "subject" }, this._subject),
            target, kind, cell("state-cell", this._state), client, duration, idle, down, up, ticket,
            cell("act operate", this._end),
        );
    }

    show({ session, down, up, warning }, index, isSelected) {
        const subject = session.subject ?? "unnamed";
        setAttribute(this.node, "aria-rowindex", index);
        setAttribute(this.node, "data-selected", isSelected);
        this._box.checked = isSelected;
        setText(this._subject, subject);
        setAttribute(this._subject, "title", subject);
        setAttribute(this._subject, "data-missing", session.subject === null ? "true" : null);
        const name = `${subject} on ${session.target}`;
        setAttribute(this._box, "aria-label", `Select ${name}`);
        setAttribute(this._end, "aria-label", `End ${name}`);
        this._end.disabled = session.state === "ending";
        const left = warning === null ? 0 : (warning.until - Date.now()) / 1000;
        setText(this._state, left > 0 ? `ends in ${formatDuration(left)}` : session.state);
        setAttribute(this._state, "data-state", left > 0 ? "warned" : session.state);
        this._set("console", session.target);
        this._set("kind", session.kind ?? "\u2013");
        this._set("client", session.client);
        this._set("duration", formatDuration(session.duration));
        this._set("idle", formatDuration(session.idle));
        this._set("down", formatRate(down));
        this._set("up", formatRate(up));
        this._set("ticket", session.ticket);
    }

    _set(name, text) {
        const cell = this._cells[name];
        if (cell.textContent !== text) {
            cell.textContent = text;
            if (name === "console" || name === "client" || name === "ticket") {
                cell.title = text; // It may be cut off.
            }
        }
    }
}

function setHeight(cell, rows) {
    cell.parentElement.hidden = rows === 0;
    cell.style.height = `${rows * ROW_HEIGHT}px`;
}
