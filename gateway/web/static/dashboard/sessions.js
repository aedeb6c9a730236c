/**
 * The sessions as they are known: counters that are read every few seconds, and events in between.
 *
 * Nothing here touches the page. Rates go by the gateway's own clock (a session's duration), so the time
 * that an answer was under way does not show in them.
 */

import { matches, searchText } from "./filter.js";

/** How columns are sorted; what is not known comes last either way. */
const KEYS = {
    subject: row => row.session.subject,
    console: row => row.session.target,
    kind: row => row.session.kind,
    state: row => row.session.state,
    client: row => row.session.client,
    duration: row => row.session.duration,
    idle: row => row.session.idle,
    down: row => row.down,
    up: row => row.up,
    ticket: row => row.session.ticket,
};
const compareTexts = new Intl.Collator("en", { numeric: true, sensitivity: "base" }).compare;

const MAX_REMEMBERED = 2000;
const LATEST = 60000;

export class Sessions {
    constructor() {
        this.rows = new Map();
        /** Bytes per second of all together; null while they are not known. */
        this.down = null;
        this.up = null;
        this._opened = new Map();
        this._ended = new Map();
    }

    get size() {
        return this.rows.size;
    }

    /**
     * Take a whole reading.
     *
     * @param {Array<object>} list - the API's sessions.
     * @param {number} asked - when they were asked for; events since then are newer than the list may be.
     * @param {boolean} isWhole - the list is of one moment. Where it was read in parts, an end in between moves
     *     others from one part to another, unseen; so only what is missing twice is gone.
     */
    replace(list, asked, isWhole = true) {
        const rows = new Map();
        for (const session of list) {
            if (!(this._ended.get(session.id) >= asked)) {
                rows.set(session.id, this._updated(session));
            }
        }
        for (const [id, row] of this.rows) {
            const isNew = this._opened.get(id) >= asked;
            if (!rows.has(id) && (isNew || (!isWhole && !row.missed))) {
                rows.set(id, { ...row, missed: !isNew });
            }
        }
        this.rows = rows;
        this._opened = newerThan(this._opened, asked);
        this._ended = newerThan(this._ended, asked);
        this._sum();
    }

    /** A session is there, or has changed. */
    take(session, when) {
        if (!this._ended.has(session.id)) {
            this._opened.set(session.id, when);
            this.rows.set(session.id, this._updated(session));
        }
    }

    /** A session was told that it will end. */
    warn(session, reason, left, when) {
        this.take(session, when);
        const row = this.rows.get(session.id);
        if (row !== undefined) {
            row.warning = { reason, until: when + left * 1000 };
        }
    }

    end(id, when) {
        this._ended.set(id, when);
        this._opened.delete(id);
        this.rows.delete(id);
        if (this._ended.size > MAX_REMEMBERED) {
            // Nobody takes readings while the page is hidden; no answer is that late.
            this._ended = newerThan(this._ended, when - LATEST);
        }
    }

    clear() {
        this.rows.clear();
        this._opened.clear();
        this._ended.clear();
        this.down = this.up = null;
    }

    /** Those that fit the terms of a filter, sorted. */
    select(terms, key, descending) {
        const found = [];
        for (const row of this.rows.values()) {
            if (!terms.length || matches(terms, row.session, row.text)) {
                found.push(row);
            }
        }
        return sortRows(found, key, descending);
    }

    _updated(session) {
        const before = this.rows.get(session.id);
        if (before === undefined) {
            return { session, text: searchText(session), down: null, up: null, warning: null, missed: false };
        }
        const elapsed = session.duration - before.session.duration;
        if (elapsed < 0) {
            return { ...before, missed: false }; // An event that was overtaken by a reading.
        }
        const rate = name => Math.max(0, (session[name] - before.session[name]) / elapsed);
        // Two readings within a moment say little about a rate.
        const isLong = elapsed >= 0.5;
        return {
            session: isLong ? session : { ...before.session, state: session.state, kind: session.kind, security: session.security },
            text: searchText(session),
            down: isLong ? rate("to_client") : before.down,
            up: isLong ? rate("to_target") : before.up,
            warning: session.idle < before.session.idle && before.warning?.reason === "idle" ? null : before.warning,
            missed: false,
        };
    }

    _sum() {
        let down = 0;
        let up = 0;
        let known = this.rows.size === 0;
        for (const row of this.rows.values()) {
            known ||= row.down !== null;
            down += row.down ?? 0;
            up += row.up ?? 0;
        }
        this.down = known ? down : null;
        this.up = known ? up : null;
    }
}

/** Sort rows in place by a column; equals keep a fixed order, so that nothing jumps. */
export function sortRows(rows, key, descending) {
    const read = KEYS[key] ?? KEYS.subject;
    const sign = descending ? -1 : 1;
    const decorated = rows.map(row => [read(row) ?? null, row]);
    decorated.sort(([a, rowA], [b, rowB]) => {
        if (a === null || b === null) {
            return (a === null) - (b === null) || order(rowA, rowB);
        }
        const result = typeof a === "number" ? a - b : compareTexts(a, b);
        return sign * result || order(rowA, rowB);
    });
    return decorated.map(([, row]) => row);
}

function order({ session: a }, { session: b }) {
    return a.started - b.started || (a.id < b.id ? -1 : 1);
}

function newerThan(times, moment) {
    return new Map([...times].filter(([, when]) => when >= moment));
}
