/**
 * What is typed into the search box, and which sessions it means. Nothing here touches the page.
 *
 * Words are looked for in everything that is shown of a session. `field=value` must be exactly so and
 * `field:value` somewhere in the field; quotes hold blanks together, and in them a backslash takes the meaning
 * from a quote. Every term must fit.
 */

const FIELDS = {
    session: session => session.id,
    ticket: session => session.ticket,
    subject: session => session.subject,
    client: session => session.client,
    console: session => session.target,
    kind: session => session.kind ?? "unknown",
    state: session => session.state,
    security: session => session.security,
};
/** What the API can select by; it goes by exact values. */
const SELECTORS = ["session", "ticket", "subject", "client", "console"];
const TERM = /(?:([a-z]+)([=:]))?(?:"((?:[^"\\]|\\.)*)"?|(\S+))/gi;
const MAX_TERMS = 20;

/**
 * @param {string} text - as typed.
 * @returns {Array<{field: ?string, exact: boolean, value: string}>}
 */
export function parseFilter(text) {
    const terms = [];
    for (const [whole, name, sign, quoted, plain] of text.matchAll(TERM)) {
        const field = name?.toLowerCase();
        const known = field !== undefined && Object.hasOwn(FIELDS, field);
        const isQuoted = quoted !== undefined && (known || name === undefined);
        const value = isQuoted ? quoted.replace(/\\(.)/g, "$1") : known ? plain : whole.replaceAll('"', "");
        if (value !== "" && terms.length < MAX_TERMS) {
            terms.push({
                field: known ? field : null,
                exact: known && sign === "=",
                value: known && sign === "=" ? value : value.toLowerCase(),
            });
        }
    }
    return terms;
}

/** The term that means exactly this value of a field, as one would type it. */
export function exactTerm(field, value) {
    return `${field}=${/[\s"\\]/.test(value) ? `"${value.replace(/["\\]/g, "\\$&")}"` : value}`;
}

/** All of a session that words are looked for in. */
export function searchText(session) {
    return Object.values(FIELDS).map(read => read(session) ?? "").join("\n").toLowerCase();
}

/**
 * Whether every term fits.
 *
 * @param {Array} terms - of parseFilter().
 * @param {object} session - as the API has it.
 * @param {string} text - its searchText().
 */
export function matches(terms, session, text) {
    return terms.every(({ field, exact, value }) => {
        if (field === null) {
            return text.includes(value);
        }
        const found = FIELDS[field](session) ?? "";
        return exact ? found === value : found.toLowerCase().includes(value);
    });
}

/**
 * The same as the API's criteria, where it has them; null where sessions have to be named one by one.
 *
 * Only then can sessions be meant that open while somebody reads a question about them.
 */
export function selectorOf(terms) {
    const selector = {};
    for (const { field, exact, value } of terms) {
        if (!exact || !SELECTORS.includes(field) || Object.hasOwn(selector, field)) {
            return null;
        }
        selector[field] = value;
    }
    return terms.length ? selector : null;
}
