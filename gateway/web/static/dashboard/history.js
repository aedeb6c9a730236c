/**
 * What happened lately: ends, refusals, and what operators did; and how often, by reason, since the start.
 */

import { formatCount, formatDuration, formatTime } from "./format.js";
import { element, make, setText } from "./page.js";

const KEPT = 200;
const SHOWN = 100;
const MAX_TEXT = 500;

const seen = session => [session.subject ?? "unnamed", session.target, session.client];
/** What is listed of each kind of event: titles, cells, and the text where there is nothing. */
const LISTS = {
    "session-ended": {
        titles: ["Time", "Reason", "Subject", "Console", "Client", "Lasted", "Detail"],
        cells: event => [...seen(event.session), formatDuration(event.session.duration), event.detail],
        empty: "No session has ended yet",
    },
    "request-refused": {
        titles: ["Time", "Reason", "Subject", "Console", "Client", "Status", "Detail"],
        cells: event => [event.subject ?? "\u2013", event.target ?? "\u2013", event.client, event.status, event.detail],
        empty: "No request has been refused yet",
    },
    "admin-action": {
        titles: ["Time", "Action", "By", "Sessions", "Detail"],
        cells: event => [event.actor, formatCount(event.sessions?.length), event.detail],
        empty: "No operator has done anything yet",
    },
};
export const TYPES = Object.keys(LISTS);

export class History {
    constructor() {
        this._events = Object.fromEntries(TYPES.map(type => [type, []]));
        this._numbers = new Set();
        this._type = "session-ended";
        this._reason = null;
        this._counts = { ended: new Counts("ended-counts"), refused: new Counts("refused-counts") };
        this._tabs = TYPES.map(type => element(`tab-${type}`));
        for (const [index, tab] of this._tabs.entries()) {
            tab.addEventListener("click", () => this._show(TYPES[index], null));
            tab.addEventListener("keydown", event => this._moveTab(event, index));
        }
        element("reason-clear").addEventListener("click", () => this._show(this._type, null));
        this._counts.ended.onChoice = reason => this._show("session-ended", reason);
        this._counts.refused.onChoice = reason => this._show("request-refused", reason);
    }

    /** Take an event; false where it is known, or none of those that are listed. */
    take(event) {
        const events = this._events[event.type];
        if (events === undefined || this._numbers.has(event.number)) {
            return false;
        }
        this._numbers.add(event.number);
        events.push(event);
        if (events.length > 1 && events.at(-2).number > event.number) {
            events.sort((a, b) => a.number - b.number);
        }
        if (events.length > KEPT) {
            this._numbers.delete(events.shift().number);
        }
        return true;
    }

    /** Forget everything, such as after a restart of the gateway. */
    clear() {
        for (const type of TYPES) {
            this._events[type].length = 0;
        }
        this._numbers.clear();
        this.draw();
        this.showCounts({}, {});
    }

    /** Show how often what happened. */
    showCounts(ended, refused) {
        this._counts.ended.show(ended);
        this._counts.refused.show(refused);
    }

    draw() {
        const list = LISTS[this._type];
        const mine = this._events[this._type].filter(event => this._reason === null || event.reason === this._reason);
        const head = make("tr", {}, ...list.titles.map(text => make("th", { scope: "col", text })));
        const rows = mine.slice(-SHOWN).reverse().map(event => line(event, list));
        element("history-head").replaceChildren(head);
        element("history-body").replaceChildren(...rows);
        element("history-empty").hidden = rows.length > 0;
        setText(element("history-empty"), this._reason === null ? list.empty : `Nothing lately with reason ${this._reason}`);
        element("reason-shown").hidden = this._reason === null;
        setText(element("reason-name"), this._reason ?? "");
    }

    _show(type, reason) {
        this._type = type;
        this._reason = reason;
        for (const [index, tab] of this._tabs.entries()) {
            tab.setAttribute("aria-selected", String(TYPES[index] === type));
            tab.tabIndex = TYPES[index] === type ? 0 : -1;
        }
        element("history-panel").setAttribute("aria-labelledby", `tab-${type}`);
        this.draw();
    }

    _moveTab(event, index) {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step !== undefined) {
            event.preventDefault();
            const next = (index + step + TYPES.length) % TYPES.length;
            this._show(TYPES[next], null);
            this._tabs[next].focus();
        }
    }
}

function line(event, list) {
    const moment = new Date(event.time * 1000);
    const machine = Number.isNaN(moment.getTime()) ? null : moment.toISOString();
    const time = make("time", { datetime: machine, text: formatTime(event.time) });
    const what = event.reason ?? event.action ?? "";
    const cells = list.cells(event).map(value => String(value ?? "").slice(0, MAX_TEXT));
    return make(
        "tr", {},
        make("td", {}, time),
        make("td", {}, make("span", { class: "reason", "data-reason": what, text: what })),
        ...cells.map(text => make("td", { text, title: text })),
    );
}

/** Numbers by reason, the largest first; each is a button that lists those events. */
class Counts {
    constructor(id) {
        this._list = element(id);
        this._shown = "";
        this.onChoice = () => {};
        this._list.addEventListener("click", event => {
            const button = event.target.closest("button");
            if (button !== null) {
                this.onChoice(button.dataset.reason);
            }
        });
    }

    show(counts) {
        const entries = Object.entries(counts).filter(([, count]) => count > 0).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
        const shown = JSON.stringify(entries);
        if (shown === this._shown) {
            return;
        }
        this._shown = shown;
        const focused = this._list.contains(document.activeElement) ? document.activeElement.dataset.reason : null;
        const most = Math.max(1, ...entries.map(([, count]) => count));
        this._list.replaceChildren(...entries.map(entry => this._line(entry, most)));
        if (!entries.length) {
            this._list.append(make("li", { class: "empty", text: "None" }));
        }
        if (focused !== null) {
            [...this._list.querySelectorAll("button")].find(button => button.dataset.reason === focused)?.focus();
        }
    }

    _line([reason, count], most) {
        const bar = make("span", { class: "bar", "aria-hidden": "true" });
        bar.style.width = `${100 * count / most}%`;
        const button = make(
            "button", { type: "button", "data-reason": reason },
            bar, make("span", { class: "reason-name", text: reason }), make("span", { class: "number", text: formatCount(count) }),
        );
        return make("li", {}, button);
    }
}
