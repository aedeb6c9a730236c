/**
 * Words for every way in which a console ends, or does not begin.
 *
 * Nothing here touches the page; `explain...` return `{title, advice}`.
 */

const NEW_LINK = "Ask for a new console link.";
const LATER = "Try again in a moment.";
const OPERATOR = "If it happens again, tell the administrator.";

/** By WebSocket close code (RFC 6455, section 7.4). */
export const CLOSE_CODES = {
    1000: ["The console closed the connection", "The machine may have been stopped or moved. Reconnect to look."],
    1001: ["The gateway is shutting down", "It may be restarting. " + LATER],
    1002: ["The gateway saw a protocol error", OPERATOR],
    1003: ["The gateway refused the kind of data it was sent", OPERATOR],
    1005: ["The connection was closed", "Reconnect to go on."],
    1006: ["The connection was lost", "Check the network, then reconnect."],
    1009: ["The gateway refused a message that was too big", "If you sent a long text, send it in smaller parts."],
    1011: ["The gateway had an internal error", OPERATOR],
    1012: ["The gateway restarts", "Reconnect in a moment. Where that is refused, ask for a new console link."],
    4001: ["The console refused the connection", "The machine may be stopped, or its console is not enabled."],
    4002: ["The console did not answer in time", "Its host may be busy or unreachable. " + LATER],
    4003: ["The name of the console's host could not be resolved", OPERATOR],
    4004: ["The gateway may not connect to this console", "Its rules do not allow it. Tell the administrator."],
    4005: ["The console cannot be reached", "Its host may be down, or a network in between. " + LATER],
    4006: ["The connection between gateway and console was lost", "The machine may have been stopped or moved. Reconnect to look."],
    4010: ["No secure connection to the console could be made", OPERATOR],
    4011: ["The console's certificate is not trusted", "Nothing was sent to it. Tell the administrator."],
    4012: ["The console's certificate is for another host", "Nothing was sent to it. Tell the administrator."],
    4013: ["The console's certificate is out of date", "Nothing was sent to it. Tell the administrator."],
    4014: ["The console does not accept the gateway", "Tell the administrator."],
    4015: ["The console offers no secure connection", "The gateway may not use it unsecured. Tell the administrator."],
    4016: ["The console did not accept the password", "Reconnect to try another one, or ask for a new console link."],
    4017: ["The console sent something the gateway does not understand", OPERATOR],
    4018: ["The console did not finish its part in time", "Its host may be busy, or nobody typed the password. " + LATER],
    4020: ["The console was closed because nobody used it", "Looking at it does not count as use. " + NEW_LINK],
    4021: ["The time for this console is over", NEW_LINK],
    4022: ["Somebody else took over the console", "Ask them before you open it again."],
    4023: ["An operator closed the console", "Ask the administrator if you still need it."],
};

/** The close codes whose reason may be a message to the user, and what it is when the operator wrote none. */
const NO_MESSAGE = { 1012: "Gateway is restarting, connect again", 4023: "Ended by an operator" };

/** By HTTP status, when the connection was refused before it began. */
export const STATUSES = {
    400: ["The gateway did not understand the request", NEW_LINK],
    401: ["The gateway did not accept the ticket", NEW_LINK],
    403: ["The ticket has expired or cannot be used here", `${NEW_LINK} ${OPERATOR}`],
    404: ["There is no console at this address", NEW_LINK],
    405: ["The gateway does not allow this request", OPERATOR],
    408: ["The request took too long", "Check the network, then try again."],
    409: ["Somebody else is using the console", "Try again when they have left."],
    426: ["The ticket is fine, but no WebSocket could be opened", "A proxy in between may not let WebSockets through."],
    429: ["Too many consoles are open", "Close one, then try again."],
    431: ["The request was too large for the gateway", NEW_LINK],
    500: ["The gateway had an internal error", OPERATOR],
    503: ["The gateway takes no new consoles now", "Nothing is wrong with your link: reconnect in a moment."],
};

/** Better advice than a status has, by the gateway's own text. */
export const ADVICE = {
    "Ticket has been used": ["A link opens its console once. " + NEW_LINK],
    "Origin not allowed": ["Open the console from the page that lists your machines."],
    "Too many bad tickets from your address, try again later": ["Links of somebody near you do not hold. Wait a minute, then reconnect."],
    "Too many people are using the console": ["Try again when one of them has left."],
    "Gateway takes no new sessions now": ["It is being maintained. Try again later."],
};

/** By name, for what the page itself finds out. */
export const OTHERS = {
    cancelled: ["No password was given", "Reconnect to try again."],
    disconnected: ["You disconnected", "Reconnect to go on."],
    grant: ["No ticket could be fetched", LATER],
    link: ["This link names no console", "Open the console from the page that lists your machines."],
    network: ["The gateway cannot be reached", "Check the network, then try again."],
    password: ["The console did not accept the password", "Reconnect to try another one, or ask for a new console link."],
    protocol: ["The console sent something this page does not understand", OPERATOR],
};

/**
 * Words for a closed WebSocket.
 *
 * @param {number} code - the close code.
 * @param {string} reason - the gateway's own text, shown where the code is unknown, or an operator's message.
 */
export function explainClose(code, reason) {
    if (code in NO_MESSAGE && reason && reason !== NO_MESSAGE[code]) {
        return { title: CLOSE_CODES[code][0], advice: reason };
    }
    return words(CLOSE_CODES[code], reason || "The connection ended", `Code ${code}. ${OPERATOR}`);
}

/**
 * Words for a refused request.
 *
 * @param {number} status - the HTTP status.
 * @param {string} text - the gateway's own text, if any: more exact than the status, which may mean several things.
 */
export function explainStatus(status, text) {
    const known = words(STATUSES[status], "The gateway refused the connection", `Status ${status}. ${OPERATOR}`);
    const [advice] = ADVICE[text] ?? [known.advice];
    return text && status !== 426 ? { title: text, advice } : known;
}

/** Words for one of the page's own names. */
export function explainOther(name) {
    return words(OTHERS[name], "The connection ended", OPERATOR);
}

function words(entry, title, advice) {
    return entry ? { title: entry[0], advice: entry[1] } : { title, advice };
}
