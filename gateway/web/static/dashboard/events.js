/**
 * What happens on the gateway, as it happens: Server-Sent Events (HTML standard, section 9.2).
 *
 * They are read with fetch(), because a token cannot go along with an EventSource.
 */

const MAX_LINE = 1024 * 1024;
/** The gateway says something every 15 seconds, be it a comment. */
const SILENCE = 40000;
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30000;

/** Text in pieces to events `{id, name, data}`. */
export class EventParser {
    constructor() {
        this._rest = "";
        this._reset();
        this.id = "";
    }

    /**
     * @param {string} text - what came, cut anywhere.
     * @returns {Array<{id: string, name: string, data: string}>}
     * @throws {RangeError} - a line is beyond all measure.
     */
    take(text) {
        const events = [];
        // A carriage return at the end may be half of a line's end.
        const all = this._rest + text;
        const held = all.endsWith("\r") ? 1 : 0;
        const lines = all.slice(0, all.length - held).split(/\r\n|\n|\r/);
        this._rest = lines.pop() + (held ? "\r" : "");
        if (this._rest.length > MAX_LINE) {
            throw new RangeError("a line of the event stream is too long");
        }
        for (const line of lines) {
            this._line(line, events);
        }
        return events;
    }

    _line(line, events) {
        if (line === "") {
            if (this._data.length) {
                events.push({ id: this.id, name: this._name || "message", data: this._data.join("\n") });
            }
            this._reset();
            return;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") {
            this._data.push(value);
        } else if (field === "event") {
            this._name = value;
        } else if (field === "id" && !value.includes("\0")) {
            this.id = value;
        }
    }

    _reset() {
        this._name = "";
        this._data = [];
    }
}

/**
 * A stream that comes back when it breaks, from where it was.
 *
 * Events: "open"; "happened" (detail: the event); "lost" (what happened meanwhile is not known); "wait"
 * (detail: milliseconds until the next attempt); "refused" (detail: an ApiError to which coming back is no answer).
 */
export class EventStream extends EventTarget {
    /** @param {Api} api */
    constructor(api) {
        super();
        this._api = api;
        this._last = "";
        this._controller = null;
        this._wake = null;
    }

    /** Begin, from now on. */
    start() {
        this.stop();
        this._last = "";
        this._controller = new AbortController();
        this._run(this._controller.signal);
    }

    stop() {
        this._controller?.abort();
        this._controller = null;
        this.hurry();
    }

    /** Do not wait for the next attempt. */
    hurry() {
        this._wake?.();
    }

    async _run(signal) {
        let pause = FIRST_PAUSE;
        while (!signal.aborted) {
            const began = Date.now();
            try {
                await this._read(signal);
            } catch (error) {
                if (!signal.aborted && (error.status === 401 || error.status === 403)) {
                    this._tell("refused", error);
                    return;
                }
            }
            if (signal.aborted) {
                return;
            }
            pause = Date.now() - began > LONGEST_PAUSE ? FIRST_PAUSE : pause;
            // Not all pages at once after a restart of the gateway.
            const wait = pause * (0.75 + Math.random() / 2);
            this._tell("wait", wait);
            await new Promise(resolve => {
                this._wake = resolve;
                setTimeout(resolve, wait);
            });
            pause = Math.min(2 * pause, LONGEST_PAUSE);
        }
    }

    async _read(signal) {
        const silence = new AbortController();
        let timer = setTimeout(() => silence.abort(), SILENCE);
        try {
            const headers = this._last ? { "Last-Event-ID": this._last } : {};
            const response = await this._api.stream("events", headers, AbortSignal.any([signal, silence.signal]));
            this._tell("open");
            const parser = new EventParser();
            const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            for (;;) {
                const { done, value } = await reader.read();
                if (done || signal.aborted) {
                    return;
                }
                clearTimeout(timer);
                timer = setTimeout(() => silence.abort(), SILENCE);
                for (const event of parser.take(value)) {
                    this._take(event);
                }
            }
        } finally {
            clearTimeout(timer);
            silence.abort();
        }
    }

    _take({ id, name, data }) {
        this._last = id || this._last; // First, so that what cannot be understood comes only once.
        if (name === "lost") {
            this._tell("lost");
        } else {
            this._tell("happened", JSON.parse(data));
        }
    }

    _tell(name, detail = null) {
        this.dispatchEvent(new CustomEvent(name, { detail }));
    }
}
