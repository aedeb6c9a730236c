/**
 * One attempt to connect to a console, from ticket to end.
 *
 * The page opens the WebSocket itself and hands it to the RFB client: only so can it read the close code
 * and reason.  Each connection ends exactly once, with one outcome: `{code, title, advice}`, where `code`
 * is a close code, an HTTP status, or a name from `OTHERS` in reasons.js.
 */

import RFB from "./novnc/core/rfb.js";
import { checkTicket, socketAddress, ticketPath } from "./link.js";
import { ConsoleSocket, parseNotice, SUBPROTOCOLS } from "./notices.js";
import { explainClose, explainOther, explainStatus } from "./reasons.js";

const FETCH_TIMEOUT = 15000;
const MAX_REASON = 200;

/**
 * Ask a grant's path for a ticket.
 *
 * @param {string} path - of the same origin; parseLink() has checked it.
 * @returns {Promise<{ticket: string, password: ?string, title: ?string}>}
 * @throws {Outcome}
 */
export async function fetchGrant(path) {
    const response = await request(path, { method: "POST" });
    if (!response.ok) {
        throw new Outcome(response.status, { ...explainOther("grant"), ...await statusAdvice(response) });
    }
    const granted = checkTicket(await response.json().catch(() => null));
    if (granted === null) {
        throw new Outcome("grant", explainOther("grant"));
    }
    return granted;
}

/** How a connection ended. */
export class Outcome extends Error {
    constructor(code, { title, advice }) {
        super(title);
        this.code = code;
        this.title = title;
        this.advice = advice;
    }
}

/**
 * Events: "connect", "credentialsrequired", "clipboard", "desktopname" (from the client), "notice" (from the
 * gateway; the detail is what parseNotice() returns), and "end".
 */
export class Connection extends EventTarget {
    /**
     * @param {HTMLElement} element - where the screen goes.
     * @param {{ticket: string, password: ?string}} granted
     */
    constructor(element, granted) {
        super();
        this._ticket = granted.ticket;
        this._opened = false;
        this._ended = false;
        this._found = null;
        this._socket = new WebSocket(socketAddress(location, granted.ticket), SUBPROTOCOLS);
        this._socket.addEventListener("open", () => { this._opened = true; });
        this._socket.addEventListener("close", event => this._closed(event));
        const credentials = granted.password === null ? {} : { password: granted.password };
        const channel = new ConsoleSocket(this._socket, text => this._heard(text));
        this.rfb = new RFB(element, channel, { credentials });
        for (const name of ["connect", "credentialsrequired", "clipboard", "desktopname"]) {
            this.rfb.addEventListener(name, event => this._pass(name, event.detail));
        }
        this.rfb.addEventListener("securityfailure", () => { this._found ??= "password"; });
        this.rfb.addEventListener("serververification", () => this.close("protocol"));
        this.rfb.addEventListener("disconnect", event => this._clientGone(event.detail.clean));
    }

    /** End the connection from this side; `name` says why. */
    close(name) {
        this._found ??= name;
        this.rfb.disconnect();
    }

    /** The socket closed: say why the gateway closed it, or find out why it never opened. */
    _closed({ code, reason }) {
        if (this._found) {
            this._end(new Outcome(this._found, explainOther(this._found)));
        } else if (this._opened) {
            this._end(new Outcome(code, explainClose(code, reason.slice(0, MAX_REASON))));
        } else {
            this._found = "network";
            this._askWhy().then(outcome => this._end(outcome));
        }
    }

    _heard(text) {
        const notice = parseNotice(text);
        if (notice !== null) {
            this._pass("notice", notice);
        }
    }

    /** The client gave up before the socket closed: it understood something wrong, or was told to. */
    _clientGone(clean) {
        if (!clean && this._opened && this._socket.readyState === WebSocket.OPEN) {
            this._found ??= "protocol";
        }
        if (this._found && this._opened) {
            this._end(new Outcome(this._found, explainOther(this._found)));
            this._socket.close();
        }
    }

    /** A browser hides why a WebSocket was refused; a plain request for the same path gets the same answer. */
    async _askWhy() {
        try {
            const response = await request(ticketPath(this._ticket), {});
            return new Outcome(response.status, explainStatus(response.status, await reasonOf(response)));
        } catch (outcome) {
            return outcome;
        }
    }

    _pass(name, detail) {
        if (!this._ended) {
            this.dispatchEvent(new CustomEvent(name, { detail }));
        }
    }

    _end(outcome) {
        this._pass("end", outcome);
        this._ended = true;
    }
}

async function request(path, options) {
    try {
        return await fetch(path, {
            ...options,
            credentials: "same-origin",
            mode: "same-origin",
            redirect: "error",
            cache: "no-store",
            signal: AbortSignal.timeout(FETCH_TIMEOUT),
        });
    } catch {
        throw new Outcome("network", explainOther("network"));
    }
}

async function statusAdvice(response) {
    return { advice: explainStatus(response.status, await reasonOf(response)).advice };
}

/** The first line of a plain text, without its full stop; never markup. */
async function reasonOf(response) {
    if (!(response.headers.get("Content-Type") ?? "").startsWith("text/plain")) {
        return "";
    }
    const text = await response.text().catch(() => "");
    return text.split("\n", 1)[0].slice(0, MAX_REASON).replace(/\.$/, "").trim();
}
