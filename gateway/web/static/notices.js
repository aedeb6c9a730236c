/**
 * What the gateway says to the page beside the console: text messages of the subprotocol
 * `console-gateway.v1`, each a JSON object with a `type`.
 */

/** What the page offers; the gateway picks the first that it knows. */
export const SUBPROTOCOLS = ["console-gateway.v1", "binary"];

const MAX_TEXT = 4096;
const MAX_WORDS = 300;
const MAX_SECONDS = 366 * 86400;
const NEWS_TIME = 30000;
// Whoever hears the page is told at these times and not at every second.
const SPOKEN = [60, 30, 10];

/**
 * Read a text message.
 *
 * @param {string} text
 * @returns {?object} `{type: "warning", reason, seconds}`, `{type: "warning-over"}`, `{type: "drain", seconds, text}`,
 *     `{type: "drain-over"}`, `{type: "notice", text}`, or `null` for anything else: a later gateway may have more to
 *     say.
 */
export function parseNotice(text) {
    let said = null;
    try {
        said = text.length <= MAX_TEXT ? JSON.parse(text) : null;
    } catch {
        return null;
    }
    switch (said?.type) {
    case "warning":
        return areSeconds(said.seconds) ? { type: "warning", reason: String(said.reason), seconds: said.seconds } : null;
    case "drain": {
        const words = typeof said.text === "string" ? said.text.slice(0, MAX_WORDS) : "";
        return areSeconds(said.seconds) ? { type: "drain", seconds: said.seconds, text: words } : null;
    }
    case "warning-over":
    case "drain-over":
        return { type: said.type };
    case "notice":
        return typeof said.text === "string" && said.text !== ""
            ? { type: "notice", text: said.text.slice(0, MAX_WORDS) }
            : null;
    default:
        return null;
    }
}

function areSeconds(value) {
    return typeof value === "number" && value >= 0 && value <= MAX_SECONDS;
}

/** Words for a restart of the gateway; `text` is an operator's, or empty. */
export function drainWords(text, seconds) {
    const when = seconds >= 1 ? `in ${duration(seconds)}` : "now";
    return text
        ? `${/[.!?]$/.test(text) ? text : `${text}.`} This console closes ${when}.`
        : `The gateway restarts: this console closes ${when}, and can be opened again then.`;
}

/** Words for a warning; `reason` is a reason of the gateway's log, `seconds` are left. */
export function warningWords(reason, seconds) {
    const when = seconds >= 1 ? `in ${duration(seconds)}` : "now";
    switch (reason) {
    case "idle":
        return `No input: this console closes ${when}. Press a key or move the pointer to stay.`;
    case "time-limit":
        return `The time for this console is over ${when}.`;
    default:
        return `This console closes ${when}.`;
    }
}

/** A number of seconds in words, rounded up to what they show. */
function duration(seconds) {
    const whole = Math.ceil(seconds);
    const parts = [[Math.floor(whole / 3600), "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
    return parts.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/**
 * A WebSocket as the RFB client sees it: its binary messages and nothing else.
 *
 * It has what noVNC asks of a channel; handlers are set as properties.
 */
export class ConsoleSocket {
    /**
     * @param {WebSocket} socket
     * @param {function(string)} heard - called with every text message.
     */
    constructor(socket, heard) {
        this._socket = socket;
        this.onopen = null;
        this.onmessage = null;
        this.onerror = null;
        this.onclose = null;
        for (const name of ["open", "error", "close"]) {
            socket.addEventListener(name, event => this[`on${name}`]?.(event));
        }
        socket.addEventListener("message", event => {
            if (typeof event.data === "string") {
                heard(event.data);
            } else {
                this.onmessage?.(event);
            }
        });
    }

    get binaryType() {
        return this._socket.binaryType;
    }

    set binaryType(type) {
        this._socket.binaryType = type;
    }

    get protocol() {
        return this._socket.protocol;
    }

    get readyState() {
        return this._socket.readyState;
    }

    send(data) {
        this._socket.send(data);
    }

    close() {
        this._socket.close();
    }
}

/** The place on the page where notices are shown: a countdown, and whatever else the gateway has to say. */
export class Banner {
    /**
     * @param {HTMLElement} box - holds the others.
     * @param {HTMLElement} warning - the countdown, which changes every second and is for the eye only.
     * @param {HTMLElement} news - the text of a notice.
     * @param {HTMLElement} spoken - a live region: what is to be heard of the countdown.
     */
    constructor(box, warning, news, spoken) {
        this._box = box;
        this._warning = warning;
        this._news = news;
        this._spoken = spoken;
        this._ticking = null;
        this._forgetting = null;
        /** What counts down, by the type of its notice: `{end, words}`. The next to come is shown. */
        this._counts = new Map();
        this._shown = undefined;
        this._marks = [];
        this.clear();
    }

    /** Show what parseNotice() understood. */
    show(notice) {
        switch (notice.type) {
        case "warning":
            this._countDown("warning", notice.seconds, left => warningWords(notice.reason, left));
            break;
        case "drain":
            this._countDown("drain", notice.seconds, left => drainWords(notice.text, left));
            break;
        case "warning-over":
            this._stop("warning");
            break;
        case "drain-over":
            this._stop("drain");
            break;
        default:
            this._tell(notice.text);
        }
    }

    /** Show nothing any more. */
    clear() {
        this._counts.clear();
        this._show();
        this._forget();
    }

    _countDown(type, seconds, words) {
        this._counts.set(type, { end: performance.now() + seconds * 1000, words });
        this._show();
    }

    _stop(type) {
        this._counts.delete(type);
        this._show();
    }

    /** Show what comes first, or nothing. */
    _show() {
        const [next = null] = [...this._counts.values()].sort((one, other) => one.end - other.end);
        if (next === this._shown) {
            return;
        }
        this._shown = next;
        clearInterval(this._ticking);
        this._ticking = null;
        this._warning.hidden = next === null;
        this._warning.textContent = this._spoken.textContent = "";
        if (next !== null) {
            const left = this._left();
            // What is left at first is told too, so the marks begin below it.
            this._marks = SPOKEN.filter(mark => mark < left);
            this._spoken.textContent = next.words(left);
            this._ticking = setInterval(() => this._tick(), 250);
            this._tick();
        }
        this._fit();
    }

    _tick() {
        const left = this._left();
        this._warning.textContent = this._shown.words(left);
        if (left <= this._marks[0] && left > 0) {
            this._spoken.textContent = this._shown.words(this._marks.shift());
        }
    }

    _left() {
        return Math.max(0, (this._shown.end - performance.now()) / 1000);
    }

    _tell(text) {
        clearTimeout(this._forgetting);
        this._news.textContent = text;
        this._news.hidden = false;
        this._forgetting = setTimeout(() => this._forget(), NEWS_TIME);
        this._fit();
    }

    _forget() {
        clearTimeout(this._forgetting);
        this._forgetting = null;
        this._news.hidden = true;
        this._news.textContent = "";
        this._fit();
    }

    _fit() {
        this._box.hidden = this._warning.hidden && this._news.hidden;
    }
}
