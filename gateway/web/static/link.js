/**
 * What a console link says: parameters in the URL's fragment, which browsers never send to a server.
 *
 *     #ticket=T&password=P&title=N    connect with this ticket
 *     #grant=/path&title=N            POST to this path of the same origin for a ticket, at each connect
 *
 * Values are percent-encoded; a plus sign stands for itself.
 */

const MAX_FRAGMENT = 131072;
const MAX_TICKET = 65536;
const MAX_PASSWORD = 256;
const MAX_TITLE = 100;
// A path and nothing else: no second slash or backslash that would name a host, nothing a browser strips.
const GRANT_PATH = /^\/(?!\/)[A-Za-z0-9._~%/?=&-]{0,1023}$/;

/**
 * Read a fragment.
 *
 * @param {string} fragment - `location.hash`.
 * @returns {?{ticket: ?string, password: ?string, title: ?string, grant: ?string}} `null` when it names no console.
 */
export function parseLink(fragment) {
    const values = new Map();
    if (fragment.length > MAX_FRAGMENT) {
        return null;
    }
    for (const pair of fragment.replace(/^#/, "").split("&")) {
        const at = pair.indexOf("=");
        if (at > 0) {
            try {
                values.set(pair.slice(0, at), decodeURIComponent(pair.slice(at + 1)));
            } catch {
                return null;
            }
        }
    }
    const title = text(values.get("title"), MAX_TITLE);
    if (values.has("grant")) {
        const grant = values.get("grant");
        return GRANT_PATH.test(grant) ? { grant, title, ticket: null, password: null } : null;
    }
    const granted = checkTicket({ ticket: values.get("ticket"), password: values.get("password"), title });
    return granted && { ...granted, grant: null };
}

/**
 * Check what a link or a grant says.
 *
 * @param {*} granted - an object with `ticket`, and perhaps `password` and `title`.
 * @returns {?{ticket: string, password: ?string, title: ?string}} `null` when there is no usable ticket.
 */
export function checkTicket(granted) {
    const ticket = granted?.ticket;
    if (typeof ticket !== "string" || ticket === "" || ticket.length > MAX_TICKET) {
        return null;
    }
    return { ticket, password: text(granted.password, MAX_PASSWORD), title: text(granted.title, MAX_TITLE) };
}

/** The path of a ticket's console on its gateway. */
export function ticketPath(ticket) {
    return `/${encodeURIComponent(ticket)}`;
}

/** The WebSocket address of a ticket's console, on the host of the page at `place` (a `Location`). */
export function socketAddress(place, ticket) {
    return `${place.protocol === "http:" ? "ws:" : "wss:"}//${place.host}${ticketPath(ticket)}`;
}

function text(value, limit) {
    return typeof value === "string" && value !== "" ? value.slice(0, limit) : null;
}
